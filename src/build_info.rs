//! Version, commit and features of this binary, found out by `build.rs`.

/// The version, such as `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `ATTO_WORK_COMMIT` of the build, else the commit that was checked out (40 hex digits), else `unknown`. Uncommitted
/// changes do not show.
pub const COMMIT: &str = env!("ATTO_WORK_BUILD_COMMIT");

/// What is built in, separated by commas: `vulkan` for graphics cards, the processor's kernels, and the enabled Cargo
/// features, such as `vulkan,avx512,avx512-paired,avx512-mixed,avx2-mixed,avx2-single,avx2,portable`.
pub const FEATURES: &str = env!("ATTO_WORK_BUILD_FEATURES");

/// The target triple, such as `x86_64-unknown-linux-gnu`.
pub const TARGET: &str = env!("ATTO_WORK_BUILD_TARGET");

/// The profile: `release` or `debug`.
pub const PROFILE: &str = env!("ATTO_WORK_BUILD_PROFILE");

/// The output of `--version` after the program's name.
pub(crate) const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit:   ",
    env!("ATTO_WORK_BUILD_COMMIT"),
    "\nfeatures: ",
    env!("ATTO_WORK_BUILD_FEATURES"),
    "\ntarget:   ",
    env!("ATTO_WORK_BUILD_TARGET"),
    "\nprofile:  ",
    env!("ATTO_WORK_BUILD_PROFILE"),
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::Kernel;

    #[test]
    fn the_features_name_every_kernel_of_this_processor() {
        let features: Vec<_> = FEATURES.split(',').collect();
        assert_eq!(features[0], "vulkan");
        for kernel in Kernel::available() {
            assert!(features.contains(&kernel.name()), "{FEATURES}");
        }
    }

    #[test]
    fn every_part_is_one_word() {
        for part in [VERSION, COMMIT, FEATURES, TARGET, PROFILE] {
            assert!(
                !part.is_empty() && !part.contains(char::is_whitespace),
                "{part:?}"
            );
        }
    }
}
