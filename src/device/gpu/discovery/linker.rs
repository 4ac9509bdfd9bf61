//! The dynamic linker's search for libraries.

use super::machine::Machine;

/// Whether the dynamic linker finds the library, by the rules of <https://man7.org/linux/man-pages/man8/ld.so.8.html> and
/// in Debian's folders for each architecture.
pub(super) fn finds(machine: &Machine, name: &str) -> bool {
    let variable = machine.variable("LD_LIBRARY_PATH").unwrap_or_default();
    let architecture = std::env::consts::ARCH;
    let system = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"].map(str::to_owned);
    let debian = ["/lib", "/usr/lib"].map(|lib| format!("{lib}/{architecture}-linux-gnu"));
    let mut folders = variable
        .split([':', ';'])
        .filter(|folder| !folder.is_empty())
        .map(str::to_owned)
        .chain(system)
        .chain(debian);
    folders.any(|folder| machine.exists(format!("{folder}/{name}"))) || is_cached(machine, name)
}

/// Whether the dynamic linker's cache has a library of this name that still exists. Among other things the cache contains
/// paths, each with a zero byte at its end.
fn is_cached(machine: &Machine, name: &str) -> bool {
    machine
        .bytes("/etc/ld.so.cache")
        .split(|&byte| byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .filter(|text| text.starts_with('/'))
        .any(|path| path.rsplit('/').next() == Some(name) && machine.exists(path))
}

#[cfg(test)]
mod tests {
    use super::super::machine::fake::FakeMachine;
    use super::*;

    #[test]
    fn libraries_are_found_in_the_cache_and_in_the_folders_of_the_variable() {
        let machine = FakeMachine::new()
            .files("/opt/nvidia", &["libcached.so"])
            .files("/opt/other", &["libtold.so"])
            .file(
                "/etc/ld.so.cache",
                "glibc-ld.so.cache1.1\0\u{3}/opt\0libcached.so\0/opt/nvidia/libcached.so\0/opt/nvidia/libgone.so\0",
            );
        assert!(finds(&machine.0, "libcached.so"));
        assert!(!finds(&machine.0, "libgone.so"));
        assert!(!finds(&machine.0, "libtold.so"));
        let machine = machine.variable("LD_LIBRARY_PATH", "/nowhere:/opt/other");
        assert!(finds(&machine.0, "libtold.so"));
    }
}
