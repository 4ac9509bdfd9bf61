//! The makes of processor cores for which the bounds of the kernels were counted.

/// Cores for which bounds were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    /// AMD: Zen 2, 3 and 4.
    Zen,
    /// Intel: Ice Lake and the servers' cores of its time.
    IceLake,
    /// Intel: Golden Cove, as in Sapphire Rapids, and what followed it in family 6.
    GoldenCove,
}

/// The fewest cycles that a hash can take, and the cores for which that was counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Cycles of a core to itself.
    pub cycles: f64,
    /// The name of the cores.
    pub cores: &'static str,
}

/// What a processor says about itself.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "read on x86-64 alone")
)]
struct Identity {
    vendor: [u8; 12],
    family: u32,
    model: u32,
    /// Two extensions of AVX-512, which tell Intel's cores apart without a list of models: VBMI2 came with Ice Lake, FP16
    /// with Golden Cove.
    has_vbmi2: bool,
    has_fp16: bool,
}

impl Identity {
    /// This processor's.
    #[cfg(target_arch = "x86_64")]
    fn read() -> Option<Self> {
        use std::arch::x86_64::__cpuid;

        let (name, version) = (__cpuid(0), __cpuid(1).eax);
        let mut vendor = [0; 12];
        let words = [name.ebx, name.edx, name.ecx];
        for (bytes, word) in vendor.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Some(Self::new(
            vendor,
            version,
            is_x86_feature_detected!("avx512vbmi2"),
            is_x86_feature_detected!("avx512fp16"),
        ))
    }

    /// No bound was counted for other architectures.
    #[cfg(not(target_arch = "x86_64"))]
    fn read() -> Option<Self> {
        None
    }

    /// Decodes the family and the model from the version in CPUID leaf 1.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "read on x86-64 alone")
    )]
    fn new(vendor: [u8; 12], version: u32, has_vbmi2: bool, has_fp16: bool) -> Self {
        let family = version >> 8 & 0xF;
        let extended = if family == 0xF {
            version >> 20 & 0xFF
        } else {
            0
        };
        Self {
            vendor,
            family: family + extended,
            model: version >> 12 & 0xF0 | version >> 4 & 0xF,
            has_vbmi2,
            has_fp16,
        }
    }
}

impl Make {
    /// The make of this processor. `None` if no bound was counted for it, or if a hypervisor hides it.
    pub(super) fn here() -> Option<Self> {
        Identity::read().and_then(|identity| Self::of(&identity))
    }

    fn of(identity: &Identity) -> Option<Self> {
        match (&identity.vendor, identity.family) {
            // The models below are Zen 1, whose vector units are half as wide.
            (b"AuthenticAMD", 0x17) if identity.model >= 0x30 => Some(Self::Zen),
            (b"AuthenticAMD", 0x19) => Some(Self::Zen),
            (b"GenuineIntel", 6) if identity.has_fp16 => Some(Self::GoldenCove),
            (b"GenuineIntel", 6) if identity.has_vbmi2 => Some(Self::IceLake),
            _ => None,
        }
    }

    /// This many cycles on these cores.
    pub(super) fn bound(self, cycles: f64) -> Bound {
        let cores = match self {
            Self::Zen => "Zen 2 to 4",
            Self::IceLake => "Ice Lake",
            Self::GoldenCove => "Golden Cove",
        };
        Bound { cycles, cores }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_make_is_known_by_vendor_family_and_model() {
        let make = |vendor: &[u8; 12], version, vbmi2, fp16| {
            Make::of(&Identity::new(*vendor, version, vbmi2, fp16))
        };
        let amd = |version| make(b"AuthenticAMD", version, true, false);
        // EPYC 7001, 7002, 7003, 9004 and 9005.
        assert_eq!(amd(0x0080_0F12), None);
        assert_eq!(amd(0x0083_0F10), Some(Make::Zen));
        assert_eq!(amd(0x00A0_0F11), Some(Make::Zen));
        assert_eq!(amd(0x00A1_0F11), Some(Make::Zen));
        assert_eq!(amd(0x00B0_0F21), None);
        // Xeons of Cascade Lake, Ice Lake and Sapphire Rapids.
        let intel = |version, vbmi2, fp16| make(b"GenuineIntel", version, vbmi2, fp16);
        assert_eq!(intel(0x0005_0657, false, false), None);
        assert_eq!(intel(0x0006_06A6, true, false), Some(Make::IceLake));
        assert_eq!(intel(0x0008_06F8, true, true), Some(Make::GoldenCove));
        assert_eq!(make(b"KVMKVMKVM\0\0\0", 0x00A0_0F11, true, true), None);
    }
}
