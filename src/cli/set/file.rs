//! A file changed in one step: whoever watches it sees the old content or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `content` beside `file` and renames it into place. A link is followed, so that it stays one.
pub fn replace(file: &str, content: &[u8]) -> io::Result<()> {
    let target = fs::canonicalize(file)?;
    let folder = target.parent().unwrap_or(Path::new("."));
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that nobody who reads the folder takes it for another file.
    let beside = folder.join(format!(".{name}.{}.new", std::process::id()));
    let written = write(&beside, &target, content).and_then(|()| fs::rename(&beside, &target));
    if written.is_err() {
        // What is left of an attempt is of no use; that it cannot be removed is not what went wrong.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write(beside: &Path, target: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(beside)?;
    file.set_permissions(fs::metadata(target)?.permissions())?;
    file.write_all(content)?;
    file.sync_all()
}
