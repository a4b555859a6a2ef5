# The two commands of the README are `make demo` and `make test`; each does everything, on a fresh machine too.
#
#   make            builds pyimg and pyrun (scripts/setup has made the machine ready for it)
#   make demo       sets up, builds, and shows a program run by python and by pyrun
#   make test       sets up and runs every check
#   make bench      sets up, builds, and measures in full
#   make generate   renews the completions in completions/, and the man pages in target/man
#   make install    installs into PREFIX (/usr/local), below DESTDIR if that is given
#   make clean      removes everything that was built, set up or made by the demo in this directory

PREFIX ?= /usr/local
DESTDIR ?=

static_pyrun := cargo rustc --release --locked --bin pyrun -- -C target-feature=+crt-static -C relocation-model=static
built := $(or $(CARGO_TARGET_DIR),target)/release
bin := $(DESTDIR)$(PREFIX)/bin
share := $(DESTDIR)$(PREFIX)/share

.PHONY: all demo test bench generate install clean

# pyrun is linked statically: without the dynamic linker's work it starts 0.4 ms sooner, of 1.4. And to a fixed address:
# without moving itself it starts 0.2 ms sooner again, of 1.2; what it starts has random addresses all the same. That
# address is one that no Python has, whose memory is to come to its own. lld knows --image-base, and is Rust's linker here;
# with another one that does not, programs of a Python that is linked to fixed addresses start a little later.
all:
	cargo build --release --locked
	$(static_pyrun) -C link-arg=-Wl,--image-base=0x70000000 || $(static_pyrun)

demo:
	scripts/setup --for demo
	$(MAKE) all
	scripts/demo

test:
	scripts/setup --for test
	scripts/check

bench:
	scripts/setup --for bench
	$(MAKE) all
	scripts/bench-start

generate:
	scripts/generate

# Under sudo there is often no cargo: then what `make` has built before is installed.
install: $(if $(shell command -v cargo),all)
	@test -x $(built)/pyimg -a -x $(built)/pyrun || { echo "error: nothing is built yet: run make, then make install" >&2; exit 2; }
	install -d "$(bin)" "$(share)/man/man1" "$(share)/bash-completion/completions" \
	    "$(share)/zsh/site-functions" "$(share)/fish/vendor_completions.d"
	install -m 755 $(built)/pyimg $(built)/pyrun "$(bin)"
	install -m 644 completions/pyimg.bash "$(share)/bash-completion/completions/pyimg"
	install -m 644 completions/_pyimg "$(share)/zsh/site-functions/_pyimg"
	install -m 644 completions/pyimg.fish "$(share)/fish/vendor_completions.d/pyimg.fish"
	$(built)/pyimg man "$(share)/man/man1"

clean:
	cargo clean
