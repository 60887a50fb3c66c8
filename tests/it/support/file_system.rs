//! Small file systems, which tests fill up.

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A separate file system with a size in KiB; needs the right to mount.
pub struct FileSystem(tempfile::TempDir);

impl FileSystem {
    /// Creates and mounts one.
    pub fn mount(kib: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(folder.path())
            .status()
            .expect("mount can be run");
        assert!(status.success(), "a file system can be mounted (this needs root)");
        Self(folder)
    }

    /// Its mount point.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl FileSystem {
    /// Writes to this file until only a few pages are free.
    pub fn fill(&self, ballast: &Path) {
        let mut file = std::fs::File::create(ballast).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        // A partial write counts as well.
        let _ = file.sync_all();
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
