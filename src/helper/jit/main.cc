// coppice-jit: makes machine code of eBPF programs. Started by whoever runs them; not for people.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "helper/jit/serve.h"

int main(int argc, char** argv) {
  if (argc != 3 || std::strcmp(argv[1], "--socket") != 0) {
    std::fprintf(stderr, "usage: coppice-jit --socket DESCRIPTOR (who runs programs starts it)\n");
    return 2;
  }
  char* end = nullptr;
  const long descriptor = std::strtol(argv[2], &end, 10);
  if (*end != '\0' || descriptor < 0 || descriptor > 1'000'000) {
    std::fprintf(stderr, "coppice-jit: %s is no descriptor\n", argv[2]);
    return 2;
  }
  // At once: what would be done for a tidy end is not among what a sealed process may do.
  _exit(coppice::jit::serve(static_cast<int>(descriptor)));
}
