/* The control socket: one end is here, the other with the builder while the
 * image is made and with the launcher when a process is woken.
 *
 * The wait is a syscall instruction of our own, so that whoever restores the
 * process knows where it stands. It only waits: whatever it returns, the
 * request is then read by an ordinary receive.
 */
#include "park.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MESSAGE_SIZE = 4096, MESSAGE_DESCRIPTORS = 253 /* SCM_MAX_FD */ };

static int gate = -1;

static long receive_message(struct msghdr *message, int flags)
{
    long result;
#if defined(__x86_64__)
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"((long)SYS_recvmsg), "D"((long)gate), "S"(message), "d"((long)flags)
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = SYS_recvmsg;
    register long x0 __asm__("x0") = gate;
    register struct msghdr *x1 __asm__("x1") = message;
    register long x2 __asm__("x2") = flags;

    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    result = x0;
#else
    result = syscall(SYS_recvmsg, gate, message, flags);
    if (result == -1)
        result = -errno;
#endif
    return result;
}

/* The socket goes to a number that callers hardly use, but below 1024: the
 * kernel sizes a process's table by its highest descriptor. */
void gate_open(int socket)
{
    struct rlimit files;
    int high = 824;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 1024)
        high = files.rlim_cur > 400 ? (int)files.rlim_cur - 200 : (int)files.rlim_cur / 2;
    gate = fcntl(socket, F_DUPFD_CLOEXEC, high);
    if (gate == -1)
        gate = socket;
    else
        close(socket);
}

int gate_descriptor(void)
{
    return gate;
}

void gate_move(int at_least)
{
    int moved = fcntl(gate, F_DUPFD_CLOEXEC, at_least);

    if (moved == -1)
        gate_fail("no descriptor left above %d: %s", at_least, strerror(errno));
    close(gate);
    gate = moved;
}

void gate_close(void)
{
    close(gate);
    gate = -1;
}

/* The number is not ours in a process that has become this one. */
void gate_forget(void)
{
    gate = -1;
}

bool gate_is_there(void)
{
    return gate != -1;
}

bool gate_say(const char *text, int descriptor)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec bytes = {(void *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    ssize_t sent;

    if (descriptor >= 0) {
        struct cmsghdr *part;

        message.msg_control = control;
        message.msg_controllen = sizeof control;
        part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(part), &descriptor, sizeof(int));
    }
    while ((sent = sendmsg(gate, &message, MSG_NOSIGNAL)) == -1 && errno == EINTR)
        ;
    return sent != -1;
}

/* A socket that is closed with a message unread (`go`) resets the other side,
 * which then loses the reason. */
static void refuse_messages(void)
{
    char byte;

    shutdown(gate, SHUT_RD);
    while (recv(gate, &byte, 1, MSG_DONTWAIT) > 0)
        ;
}

void gate_fail(const char *format, ...)
{
    char text[1024] = "failed ";
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text + 7, sizeof text - 8, format, arguments);
    va_end(arguments);
    if (!gate_is_there())
        request_give_up(text + 7);
    refuse_messages();
    strcat(text, "\n");
    gate_say(text, -1);
    _exit(125);
}

void gate_park(void)
{
    char byte;
    struct iovec bytes = {&byte, 1};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};

    /* Without room for control data a peek leaves the descriptors in the message. */
    while (receive_message(&message, MSG_PEEK) == -EINTR)
        ;
}

/* The launcher lets the program start only once the restore is over: until then
 * it may still fail, and the caller would run the program a second time. */
void gate_await_go(void)
{
    char text[16];
    struct iovec bytes = {text, sizeof text};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    long length;

    while ((length = receive_message(&message, 0)) == -EINTR)
        ;
    if (length <= 0)
        _exit(0);
    if (length < 2 || memcmp(text, "go", 2) != 0)
        gate_fail("something other than `go` came after the request");
}

/* Appends one message's descriptors; returns how many. EOF: nobody needs us. */
int gate_receive(int *descriptors, int room)
{
    char text[MESSAGE_SIZE];
    char control[CMSG_SPACE(MESSAGE_DESCRIPTORS * sizeof(int))];
    struct iovec bytes = {text, sizeof text};
    struct msghdr message = {
        .msg_iov = &bytes,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof control,
    };
    int count = 0;
    long length;

    while ((length = receive_message(&message, 0)) == -EINTR)
        ;
    if (length == 0)
        _exit(0);
    if (length < 0)
        gate_fail("cannot receive the request: %s", strerror((int)-length));
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
            int received = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));

            if (count + received > room)
                gate_fail("more descriptors than the request announced");
            memcpy(descriptors + count, CMSG_DATA(part), (size_t)received * sizeof(int));
            count += received;
        }
    }
    if (message.msg_flags & MSG_CTRUNC)
        gate_fail("descriptors were lost: the limit of open files is too low");
    return count;
}
