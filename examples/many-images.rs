//! Fills a store with many images, to measure `pyimg ls` and `pyimg gc --dry-run` with:
//! `cargo run --release --example many-images -- DIRECTORY [IMAGES [PACKS]]`.
//!
//! In DIRECTORY it makes `store` and `files`: three directories with 200 modules each, on
//! which the images depend, each on others of them. Nothing can be restored from the images.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use pyimg::key::evidence::Evidence;
use pyimg::key::host::Host;
use pyimg::manifest::EVIDENCE;
use pyimg::store::{Digest, ImageKey, ImageRecord, PAGE, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("name a directory")?);
    let mut number = |otherwise: u64| -> Result<u64, Box<dyn Error>> {
        let given = arguments.next().map(|text| text.to_string_lossy().parse());
        Ok(given.transpose()?.unwrap_or(otherwise))
    };
    let (images, packs) = (number(10_000)?, number(500)?);
    let mut modules = Vec::new();
    for site in ["stdlib", "site-packages", "dist-packages"] {
        let site = directory.join("files").join(site);
        fs::create_dir_all(&site)?;
        for module in 0..200 {
            let path = site.join(format!("a_module_{module}.cpython-311.pyc"));
            fs::write(&path, format!("{module}"))?;
            modules.push(path);
        }
    }
    let store = Store::open(&directory.join("store"))?;
    for image in 0..images {
        // The images of one pack hold the same memory.
        let memory: Vec<u8> = (0..64 * PAGE as u64)
            .map(|at| ((at / PAGE as u64 + 1) * (image % packs + 1) % 251 + at % 7) as u8)
            .collect();
        let mut ingest = store.begin(0)?;
        ingest.add_run(0x10_0000, &memory)?;
        let mut sealed = ingest.seal()?;
        for file in ["core-1.img", "mm-1.img", "pagemap-1.img", "files.img", "pstree.img"] {
            sealed.add_file(file, &[7; 3000])?;
        }
        // All but every twentieth, beginning elsewhere each time.
        let depends =
            modules.iter().enumerate().filter(|(at, _)| !(*at as u64 + image).is_multiple_of(20));
        let evidence = Evidence::record(depends.map(|(_, path)| path.clone()), [])?;
        sealed.add_file(EVIDENCE, &evidence.to_json())?;
        sealed.commit(record(image)?, &"", &[])?;
    }
    println!("{images} images in {}", store.dir().display());
    Ok(())
}

fn record(image: u64) -> Result<ImageRecord, Box<dyn Error>> {
    let hash = *blake3::hash(&image.to_le_bytes()).as_bytes();
    let interpreter = fs::canonicalize("/proc/self/exe")?.display().to_string();
    let Host { kernel, libc, processor } = Host::read();
    Ok(ImageRecord {
        key: ImageKey::new(hash),
        name: format!("image-{image}"),
        python: "3.11.7".into(),
        executable: interpreter.clone(),
        real_executable: interpreter,
        interpreter: Digest::new(hash),
        kernel,
        glibc: libc,
        cpu: processor,
        flags: String::new(),
        python_env: String::new(),
        recipe: format!("import a_module_{image}"),
        modules: vec![format!("a_module_{image}")],
        import_ns: 100_000_000,
    })
}
