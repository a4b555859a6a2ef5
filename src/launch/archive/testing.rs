//! Archives for tests.

use std::io::Write as _;
use std::path::Path;

/// Makes a zip archive of files as they are, behind `front`.
pub fn write(path: &Path, front: &[u8], files: &[(&str, &str)]) {
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    for (name, text) in files {
        let (mut entry, config) = archive.new_file(*name).start().unwrap();
        let mut writer = config.wrap(&mut entry);
        writer.write_all(text.as_bytes()).unwrap();
        let (_, descriptor) = writer.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    std::fs::write(path, [front, &bytes].concat()).unwrap();
}
