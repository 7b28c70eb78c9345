// coppice-lua: where channel programs run. Started by coppiced; not for people.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "helper/lua/zygote.h"

int main(int argc, char** argv) {
  if (argc != 3 || std::strcmp(argv[1], "--nursery") != 0) {
    std::fprintf(stderr, "usage: coppice-lua --nursery DESCRIPTOR (coppiced starts it)\n");
    return 2;
  }
  char* end = nullptr;
  const long descriptor = std::strtol(argv[2], &end, 10);
  if (*end != '\0' || descriptor < 0 || descriptor > 1'000'000) {
    std::fprintf(stderr, "coppice-lua: %s is no descriptor\n", argv[2]);
    return 2;
  }
  return coppice::lua::serve_nursery(static_cast<int>(descriptor));
}
