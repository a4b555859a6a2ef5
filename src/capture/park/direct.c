/* Waking without a supervisor: the launcher has become this process by mapping
 * its memory, and enters here with a fresh stack.
 *
 * What the kernel keeps of a process and a dump would have to say (signal
 * actions, the park's own registers) the library remembers itself before it
 * parks: so the launcher knows where to enter and what to map, and little else.
 * Other threads are begun here, each with the signal frame that the launcher
 * brings for it; the kernel takes its registers from that.
 */
#include "park.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HANDOFF_MAGIC = 0x31464f48, LAST_SIGNAL = 64, STACK_SIZE = 32768, FEW = 4 };

/* What the kernel knows as struct sigaction. */
struct action {
    uint64_t handler, flags, restorer, mask;
};

/* A thread that is yet to begin, on its own stack: below its frame, and below that what it does
 * not mind. */
struct waiting {
    struct direct_thread thread;
    struct waiting *next;
};

static struct {
    jmp_buf park;
    struct action actions[LAST_SIGNAL + 1];
    uint32_t vector_control;  /* MXCSR */
    uint16_t float_control;   /* of the x87 */
    struct handoff *handoff;
    struct waiting *waiting;
    unsigned threads;         /* that were begun */
    long ids[FEW];            /* of the first of them */
} direct;

static char stack[STACK_SIZE] __attribute__((aligned(16)));
static unsigned begun; /* threads that have what the kernel keeps of them, but for a few registers */

static long raw(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

static void keep_state(const struct direct_thread *thread)
{
    if (thread->robust_length != 0)
        raw(SYS_set_robust_list, (long)thread->robust, (long)thread->robust_length, 0, 0);
    if (thread->rseq_length != 0)
        raw(SYS_rseq, (long)thread->rseq, thread->rseq_length, 0, thread->rseq_signature);
    raw(SYS_prctl, PR_SET_NAME, (long)thread->name, 0, 0);
}

/* On the thread's own stack and with its storage, errno among it, which is not
 * ours to change. */
static __attribute__((used, noreturn)) void thread_begin(const struct direct_thread *thread)
{
    uint64_t frame = thread->frame + 8; /* a handler has returned by then */

    keep_state(thread);
    __atomic_add_fetch(&begun, 1, __ATOMIC_RELEASE);
    __asm__ volatile("mov %0, %%rsp\n\tsyscall\n\thlt"
                     :
                     : "r"(frame), "a"((long)SYS_rt_sigreturn)
                     : "memory");
    __builtin_unreachable();
}

static long begin_thread(const struct waiting *waiting)
{
    const struct direct_thread *thread = &waiting->thread;
    unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                          CLONE_SYSVSEM | CLONE_SETTLS | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    uint64_t top = (uint64_t)waiting & ~15ull;
    long result;
    register long tid __asm__("r10") = (long)thread->id_address;
    register long storage __asm__("r8") = (long)thread->storage;
    register const struct direct_thread *kept __asm__("r12") = thread;

    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r12, %%rdi\n\t"
                     "call thread_begin\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "0"((long)SYS_clone), "D"(flags), "S"(top), "d"(0L), "r"(tid), "r"(storage),
                       "r"(kept)
                     : "rcx", "r11", "memory");
    return result;
}

/* Puts what a thread needs from the launcher on its own stack. */
static struct waiting *lay_out(const struct direct_thread *thread)
{
    enum { RED_ZONE = 128 };
    uint64_t end = (thread->frame - RED_ZONE) & ~15ull;
    struct waiting *waiting = (struct waiting *)((end - sizeof *waiting) & ~15ull);

    memcpy((void *)thread->frame, thread->bytes, thread->length);
    waiting->thread = *thread;
    return waiting;
}

static void lay_out_threads(const struct handoff *handoff)
{
    direct.waiting = NULL;
    direct.threads = begun = 0;
    for (uint64_t i = handoff->thread_count; i > 0; i--) {
        struct waiting *waiting = lay_out(&handoff->threads[i - 1]);

        waiting->next = direct.waiting;
        direct.waiting = waiting;
    }
}

/* Nobody waits for them yet: another processor takes its time to begin. From then on what is
 * unmapped costs a word to that processor, so the launcher's memory goes first. */
static void begin_threads(void)
{
    struct waiting *next;

    for (struct waiting *waiting = direct.waiting; waiting != NULL; waiting = next) {
        long id;

        next = waiting->next;
        id = begin_thread(waiting);
        if (id < 0)
            gate_fail("a thread cannot be started");
        if (direct.threads < FEW)
            direct.ids[direct.threads] = id;
        direct.threads++;
    }
    direct.waiting = NULL;
}

/* The program sees them as they were: before they have begun they block all signals. */
void direct_await_threads(void)
{
    while (__atomic_load_n(&begun, __ATOMIC_ACQUIRE) < direct.threads)
        sched_yield();
}

/* At the end, libraries wake their threads, to wait until those have ended. On this
 * processor they do so at once; another has to be woken as well, 0.1 ms in a virtual
 * machine. Many have more to gain from many processors. */
void direct_gather(void)
{
    cpu_set_t here;
    int processor = sched_getcpu();

    if (direct.threads > FEW || processor < 0 || processor >= CPU_SETSIZE)
        return;
    CPU_ZERO(&here);
    CPU_SET(processor, &here);
    for (unsigned i = 0; i < direct.threads; i++)
        if (raw(SYS_tgkill, getpid(), direct.ids[i], 0, 0) == 0) /* it is ours still */
            raw(SYS_sched_setaffinity, direct.ids[i], sizeof here, (long)&here, 0);
}

static void restore_actions(void)
{
    for (int number = 1; number <= LAST_SIGNAL; number++)
        if (number != SIGKILL && number != SIGSTOP)
            raw(SYS_rt_sigaction, number, (long)&direct.actions[number], 0, 8);
}

static __attribute__((noreturn)) void enter(struct handoff *handoff)
{
    if (handoff->magic != HANDOFF_MAGIC)
        _exit(125);
    direct.handoff = handoff;
    raw(SYS_set_tid_address, (long)handoff->main.id_address, 0, 0, 0);
    keep_state(&handoff->main);
    restore_actions();
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(direct.vector_control), "m"(direct.float_control));
    longjmp(direct.park, 1);
}

void direct_remember(void)
{
    for (int number = 1; number <= LAST_SIGNAL; number++)
        raw(SYS_rt_sigaction, number, 0, (long)&direct.actions[number], 8);
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(direct.vector_control), "=m"(direct.float_control));
}

void direct_park(void)
{
    char text[64];

    snprintf(text, sizeof text, "parked %#lx %#lx\n", (unsigned long)(uintptr_t)enter,
             (unsigned long)(uintptr_t)(stack + sizeof stack));
    if (setjmp(direct.park) != 0) {
        gate_forget();
        lay_out_threads(direct.handoff);
        return;
    }
    gate_say(text, -1);
    gate_park();
}

/* The request, where the launcher has left it; NULL if it comes through the gate. */
const char *direct_request(size_t *size)
{
    if (direct.handoff == NULL)
        return NULL;
    *size = direct.handoff->request_length;
    return direct.handoff->request;
}

/* Nothing that the launcher has left is needed any more: the threads can begin. */
void direct_done(void)
{
    struct handoff *handoff = direct.handoff;

    direct.handoff = NULL;
    if (handoff == NULL)
        return;
    munmap(handoff->launcher, handoff->launcher_length);
    begin_threads();
}
