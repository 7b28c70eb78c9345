// pool/shared_value.h — SharedValue: a value that its copies share, and nobody changes.
#pragma once

#include <memory>
#include <utility>

namespace coppice::pool {

// For what is big beside the record it lies in: records are copied whole when one field changes.
// Compared by what it holds.
template <class T>
class SharedValue {
 public:
  SharedValue(T value)  // NOLINT(google-explicit-constructor)
      : value_(std::make_shared<const T>(std::move(value))) {}
  const T& operator*() const { return *value_; }
  const T* operator->() const { return value_.get(); }
  operator const T&() const { return *value_; }  // NOLINT(google-explicit-constructor)
  friend bool operator==(const SharedValue& a, const SharedValue& b) {
    return a.value_ == b.value_ || *a.value_ == *b.value_;
  }

 private:
  std::shared_ptr<const T> value_;
};

}  // namespace coppice::pool
