// A thread_local that the destructor of a pthread key is the first to touch: registered when the thread's C++ destructors have run.
#include <atomic>
#include <pthread.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

static std::atomic<int> made{0}, gone{0}, elsewhere{0};

struct Cache {
    long thread = syscall(SYS_gettid);
    std::vector<std::string> lines;

    Cache() { made++; }
    ~Cache() { (thread == syscall(SYS_gettid) ? gone : elsewhere)++; }
};

static thread_local Cache cache;
static pthread_key_t key;

static void at_the_end(void *) { cache.lines.emplace_back("a line that is long enough to be on the heap, and this thread's"); }

extern "C" int make_key() { return pthread_key_create(&key, at_the_end); }
extern "C" int delete_key() { return pthread_key_delete(key); }
extern "C" void use_key() { pthread_setspecific(key, &key); }
extern "C" void counts(int out[3]) { out[0] = made; out[1] = gone; out[2] = elsewhere; }
