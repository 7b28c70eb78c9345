// Does not say what it was made for.
#include "probe.h"
