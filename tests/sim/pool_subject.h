// pool_subject.h — the real engine as a history's subject; administration goes through the verb
// table.
#pragma once

#include "subject.h"

namespace coppice::simtest {

class PoolMaker final : public SubjectMaker {
 public:
  Task<> create(LaneView sync, std::string name, u64 seed) override;
  Task<std::unique_ptr<Subject>> open(std::vector<LaneView> lanes, SubjectOptions options) override;
};

}  // namespace coppice::simtest
