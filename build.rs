//! Builds what Rust cannot say itself: the bindings to libcriu, the types of
//! CRIU's images, and the park library that runs inside the interpreter.
//!
//! Nothing is fetched. libcriu and its header are looked for in
//! `PYIMG_CRIU_PREFIX`, then where `scripts/setup` puts them, then where a
//! distribution does. libcriu and libprotobuf-c are linked statically, so that
//! the binaries need nothing but libc at run time.

use std::env;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    libcriu(&out);
    image_types();
    park_library(&out);
    lean_libraries(&out);
    first_code(&out);
}

/// What the head of a request looks like, for all C code.
const REQUEST: &str = "src/engine/request.h";

/// Where libcriu was found: its include directories and its library directories.
struct Criu {
    include: PathBuf,
    libraries: Vec<PathBuf>,
}

fn find_criu() -> Criu {
    println!("cargo:rerun-if-env-changed=PYIMG_CRIU_PREFIX");
    let mut prefixes = Vec::new();
    if let Some(prefix) = env::var_os("PYIMG_CRIU_PREFIX") {
        prefixes.push(PathBuf::from(prefix));
    }
    if let Some(home) = env::var_os("HOME") {
        prefixes.push(Path::new(&home).join(".local/lib/pyimg/criu"));
    }
    prefixes.push("/usr/local/lib/pyimg/criu".into());
    prefixes.push("/usr".into());
    prefixes.push("/usr/local".into());
    for prefix in &prefixes {
        let header = prefix.join("include/criu/criu.h");
        println!("cargo:rerun-if-changed={}", header.display());
        if header.is_file() {
            let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
            return Criu {
                include: prefix.join("include"),
                libraries: vec![
                    prefix.join("lib"),
                    prefix.join("lib").join(format!("{arch}-linux-gnu")),
                ],
            };
        }
    }
    panic!(
        "criu/criu.h not found in any of {prefixes:?}; run `scripts/setup`, or set \
         PYIMG_CRIU_PREFIX to where libcriu is installed"
    );
}

fn libcriu(out: &Path) {
    let criu = find_criu();
    for directory in &criu.libraries {
        println!("cargo:rustc-link-search=native={}", directory.display());
    }
    println!("cargo:rustc-link-lib=static=criu");
    println!("cargo:rustc-link-lib=static=protobuf-c");

    let bindings = bindgen::Builder::default()
        .header(criu.include.join("criu/criu.h").to_str().expect("UTF-8 path"))
        .clang_arg(format!("-I{}", criu.include.display()))
        .clang_arg(format!("-I{}", criu.include.join("criu").display()))
        .allowlist_function("criu_(local_.*|get_version)")
        .allowlist_type("criu_.*")
        .blocklist_type("_?Criu.*|_?Protobuf.*")
        .raw_line("/// A message from CRIU; never looked into here.")
        .raw_line("pub type CriuNotify = std::ffi::c_void;")
        .generate_comments(false)
        .layout_tests(false)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .generate()
        .expect("bindgen understands criu.h");
    bindings.write_to_file(out.join("libcriu.rs")).expect("OUT_DIR is writable");
}

fn image_types() {
    println!("cargo:rerun-if-changed=src/image/criu.proto");
    protobuf_codegen::Codegen::new()
        .pure()
        .include("src/image")
        .input("src/image/criu.proto")
        .cargo_out_dir("image")
        .run_from_script();
}

/// The empty libraries that CRIU is started with; see `src/criu/lean.rs`.
fn lean_libraries(out: &Path) {
    println!("cargo:rerun-if-changed=src/criu/lean");
    let compiler = cc::Build::new().get_compiler();
    for name in ["libgnutls.so.30", "libnftables.so.1"] {
        let source = format!("src/criu/lean/{name}");
        let mut command = Command::new(compiler.path());
        command
            .args(["-shared", "-fPIC", "-nostdlib", "-s", "-Wl,-z,max-page-size=4096"])
            .arg(format!("-Wl,-soname,{name}"))
            .arg(format!("-Wl,--version-script={source}.map"))
            .arg(format!("{source}.c"))
            .arg("-o")
            .arg(out.join(name));
        let status = command.status().expect("the C compiler can be started");
        assert!(status.success(), "the library {name} does not compile: {command:?}");
    }
}

/// What `pyrun` begins with, before its C library; see `src/replay/first/first.h`. Flags from the
/// environment do not count: one that asks for something that a C library has to set up, as
/// `-fstack-protector` does, would be the end of each run.
fn first_code(out: &Path) {
    let steps = Path::new("src/engine/direct/steps.c");
    println!("cargo:rerun-if-changed=src/replay/first");
    println!("cargo:rerun-if-changed={}", steps.display());
    let compiler = cc::Build::new().get_compiler();
    let mut library = cc::Build::new();
    for source in c_sources("src/replay/first").into_iter().chain([steps.to_owned()]) {
        let name = source.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let object = out.join(format!("first-{name}.o"));
        let mut command = Command::new(compiler.path());
        command
            .args(["-c", "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"])
            .arg(format!("-DREPLAY_MAGIC={:#x}ull", format_of_replays()))
            .args(["-ffreestanding", "-fno-builtin", "-fno-tree-loop-distribute-patterns"])
            .args(["-fno-stack-protector", "-fcf-protection=none", "-fPIE"])
            .args(["-fno-asynchronous-unwind-tables", "-march=x86-64", "-mno-avx"])
            .arg(&source)
            .arg("-o")
            .arg(&object);
        let status = command.status().expect("the C compiler can be started");
        assert!(status.success(), "{} does not compile: {command:?}", source.display());
        library.object(object);
    }
    library.compile("pyimg_first");
    println!("cargo:rustc-link-arg-bin=pyrun=-Wl,-e,first_start");
}

/// A number that tells replays of this program from those of others, which may look otherwise: a
/// hash of everything that reads, writes or makes them.
fn format_of_replays() -> u64 {
    let written_by =
        ["src/replay/file.rs", "src/engine/direct/again.rs", "src/engine/direct/steps.rs"];
    let mut files = c_sources("src/replay/first");
    files.extend(["first.h", "system.h"].map(|name| Path::new("src/replay/first").join(name)));
    files.extend(written_by.map(PathBuf::from));
    files.extend(["src/engine/direct/steps.c", REQUEST].map(PathBuf::from));
    let mut hasher = DefaultHasher::new();
    env::var("CARGO_PKG_VERSION").unwrap_or_default().hash(&mut hasher);
    for file in files {
        println!("cargo:rerun-if-changed={}", file.display());
        std::fs::read(&file).expect("a source that can be read").hash(&mut hasher);
    }
    hasher.finish()
}

/// The C files in a directory, in order.
fn c_sources(directory: &str) -> Vec<PathBuf> {
    let mut sources: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    sources
}

fn park_library(out: &Path) {
    println!("cargo:rerun-if-changed=src/capture/park");
    println!("cargo:rerun-if-changed={REQUEST}");
    let compiler = cc::Build::new().get_compiler();
    let library = out.join("libpyimg_park.so");
    let mut command = Command::new(compiler.path());
    command
        .args([
            "-shared",
            "-fPIC",
            "-O2",
            "-std=gnu11",
            "-D_GNU_SOURCE",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .args(["-fno-semantic-interposition", "-Wl,-z,relro,-z,now", "-s"])
        .arg("-o")
        .arg(&library);
    command.args(c_sources("src/capture/park")).arg("-ldl");
    let status = command.status().expect("the C compiler can be started");
    assert!(status.success(), "the park library does not compile: {command:?}");
}
