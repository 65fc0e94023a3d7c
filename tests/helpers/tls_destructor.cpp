// A thread_local with a destructor, as pybind11 and others have them.
#include <atomic>

static std::atomic<int> alive_objects{0};

struct Guard {
    Guard() { alive_objects++; }
    ~Guard() { alive_objects--; }
    int touched = 0;
};

static thread_local Guard guard;

extern "C" int touch() { return ++guard.touched; }
extern "C" int alive() { return alive_objects; }
