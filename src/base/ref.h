// base/ref.h — Ref<T>: a counted reference to an object that stays on one thread.
#pragma once

#include <utility>

#include "base/check.h"
#include "base/types.h"

namespace coppice {

// Derive from Counted; the last Ref deletes the object. Not atomic: one reactor owns the object.
class Counted {
 public:
  Counted() = default;
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  u32 references() const { return references_; }

 private:
  template <class T>
  friend class Ref;
  mutable u32 references_ = 0;  // A Ref<const T> counts as well.
};

template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) {
    if (object_) ++object_->references_;
  }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ == nullptr) return;
    CHECK(object_->references_ > 0);
    if (--object_->references_ == 0) delete object_;
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

}  // namespace coppice
