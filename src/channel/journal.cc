#include "channel/journal.h"

#include <nettle/sha2.h>

namespace coppice::channel {

void Journal::add(std::string_view verb, const verb::Arguments& arguments) {
  ++verbs_;
  if (cut_) return;
  const std::string json = verb::to_json(arguments);
  if (text_.size() + json.size() + verb.size() + 32 > kVerbsBytesMax) {
    cut_ = true;
    return;
  }
  if (!text_.empty()) text_ += ',';
  text_.append(R"({"verb":")").append(verb).append(R"(","arguments":)").append(json).append("}");
}

Journal::Mark Journal::mark() const {
  const verb::Report& report = changes_.report;
  return {.created = report.created.size(),
          .destroyed = report.destroyed.size(),
          .deferred = report.deferred.size(),
          .changed = report.changed.size(),
          .effects = changes_.effects.size(),
          .text = text_.size(),
          .verbs = verbs_,
          .target = report.target,
          .cut = cut_};
}

void Journal::roll_back(const Mark& mark) {
  verb::Report& report = changes_.report;
  report.created.resize(mark.created);
  report.destroyed.resize(mark.destroyed);
  report.deferred.resize(mark.deferred);
  report.changed.resize(mark.changed);
  report.target = mark.target;
  changes_.effects.resize(mark.effects);
  text_.resize(mark.text);
  verbs_ = mark.verbs;
  cut_ = mark.cut;
}

std::string Journal::effects(std::string_view program) const {
  std::string json = "{";
  json.append(R"("program":)").append(program);
  if (cut_) json.append(R"(,"cut":true,"verbs_count":)").append(std::to_string(verbs_));
  json.append(R"(,"verbs":[)").append(text_).append(R"(],"changes":)");
  return json + verb::to_json(changes_) + "}";
}

std::string sha256_hex(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, text.size(), reinterpret_cast<const uint8_t*>(text.data()));
  uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_digest(&context, sizeof digest, digest);
  std::string hex;
  for (const uint8_t byte : digest) hex.append({kHex[byte >> 4], kHex[byte & 15]});
  return hex;
}

}  // namespace coppice::channel
