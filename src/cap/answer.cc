#include "cap/answer.h"

namespace coppice::cap {

void write_refusal(schema::Refusal::Builder to, const Error& error) {
  to.setErrno(errno_of(error.code));
  to.setCode(name_of(error.code));
  to.setMessage(describe(error));
}

}  // namespace coppice::cap
