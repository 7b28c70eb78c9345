// One variable of each structure that programs see: for their types, which become part of the
// daemon.
#include <coppice/bpf/hooks.h>
#include <coppice/bpf/views.h>

#include "../trace/points.h"

struct coppice_submit submit;
struct coppice_complete complete;
struct coppice_admin admin;
struct coppice_connect connect;
struct coppice_timer timer;

#define COPPICE_VIEW(name, ...) struct coppice_##name name##_view;
COPPICE_STABLE_POINTS(COPPICE_VIEW)
