// coppice: the command line of Coppice.
#include <string>
#include <vector>

#include "cli/program.h"

int main(int argc, char** argv) {
  return coppice::cli::run(std::vector<std::string>(argv + 1, argv + argc));
}
