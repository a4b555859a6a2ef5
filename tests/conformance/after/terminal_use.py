#: readline, getpass, curses and the size work on a terminal.
#: run: python program.py
#: terminal: "name? " "Anm\x7fn\n" "secret? " "hidden\n" "again? " "\x1b[A\n" "key? " "q"
import curses, fcntl, getpass, os, readline, shutil, signal, struct, sys, termios, time, tty
print(sys.stdin.isatty(), os.get_terminal_size(), shutil.get_terminal_size(), os.ttyname(0).startswith("/dev/pts"), os.tcgetpgrp(0) == os.getpgrp())
readline.parse_and_bind("tab: complete")
print(repr(input("name? ")), readline.get_current_history_length())
print(repr(getpass.getpass("secret? ")))
print(repr(input("again? ")))
signal.signal(signal.SIGWINCH, lambda *a: print("resized", os.get_terminal_size().columns))
fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 30, 100, 0, 0))
time.sleep(0.05)
before = termios.tcgetattr(0)
tty.setcbreak(0)
print("key? ", end="", flush=True)
print(os.read(0, 1))
termios.tcsetattr(0, termios.TCSADRAIN, before)
os.environ["TERM"] = "xterm"
def screen(window):
    window.addstr(0, 0, "drawn"); window.refresh()
    return window.getmaxyx(), curses.COLORS
print(curses.wrapper(screen))
curses.setupterm("vt100"); print(curses.tigetnum("cols"))
