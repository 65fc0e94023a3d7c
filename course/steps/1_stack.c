/* Step 1: a child with a stack of its own.  cc 1_stack.c && ./a.out */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK (64 * 1024)

static char buffer[16];
static char *where;
static int file;

static int child(void *arg)
{
    char local;

    (void)arg;
    where = &local;
    strcpy(buffer, "child's");
    close(file);
    signal(SIGUSR1, SIG_IGN);
    return chdir("/") ? 1 : 7;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void make_child(const char *name, int flags)
{
    char *stack
        = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    char directory[256];
    int status;
    pid_t pid;

    if (stack == MAP_FAILED)
        die("mmap");
    strcpy(buffer, "parent's");
    where = NULL;
    file = open("/dev/null", O_WRONLY);
    if (file < 0 || chdir("/tmp"))
        die("/dev/null or /tmp");
    signal(SIGUSR1, SIG_DFL);

    pid = clone(child, stack + STACK, flags | SIGCHLD, NULL);
    if (pid < 0)
        die("clone");
    if (waitpid(pid, &status, 0) != pid)
        die("waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) {
        fprintf(stderr, "the child has not returned 7, status %#x\n", status);
        exit(1);
    }

    printf("%-24s %-9s", name, buffer);
    printf("%-11s", write(file, "x", 1) == 1 ? "written" : strerrorname_np(errno));
    printf("%-10s", getcwd(directory, sizeof directory));
    printf("%-9s", signal(SIGUSR1, SIG_DFL) == SIG_IGN ? "ignored" : "default");
    if (where)
        printf("top - %td\n", stack + STACK - where);
    else
        printf("not seen\n");
    munmap(stack, STACK);
    close(file);
}

int main(void)
{
    int all = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND;

    printf("%-24s %-9s%-11s%-10s%-9s%s\n", "shared", "buffer", "write()", "getcwd()", "SIGUSR1",
           "&local");
    make_child("all four", all);
    make_child("all but CLONE_FILES", all & ~CLONE_FILES);
    make_child("all but CLONE_FS", all & ~CLONE_FS);
    make_child("all but CLONE_SIGHAND", all & ~CLONE_SIGHAND);
    make_child("CLONE_FS, CLONE_FILES", CLONE_FS | CLONE_FILES);
    make_child("nothing", 0);
    return 0;
}
