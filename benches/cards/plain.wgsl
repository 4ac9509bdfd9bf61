// Blake2b as most WGSL has it, to compare with: pairs of 32-bit halves, the carry by a select, all twelve rounds of a
// nonce as the standard writes them, one nonce for each invocation.

struct Job {
    target_low: vec4<u32>,
    target_high: vec4<u32>,
    start: vec2<u32>,
    threshold: vec2<u32>,
}

struct Found {
    claims: atomic<u32>,
    padding: u32,
    nonce: vec2<u32>,
}

@group(0) @binding(0) var<uniform> job: Job;
@group(0) @binding(1) var<storage, read_write> found: Found;

fn add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn rotate_right(a: vec2<u32>, bits: u32) -> vec2<u32> {
    return vec2((a.x >> bits) | (a.y << (32u - bits)), (a.y >> bits) | (a.x << (32u - bits)));
}

@compute @workgroup_size(64)
fn search(@builtin(global_invocation_id) id: vec3<u32>) {
    if atomicLoad(&found.claims) != 0u {
        return;
    }
    let m0 = add(job.start, vec2(id.x, 0u));
    let m1 = job.target_low.xy;
    let m2 = job.target_low.zw;
    let m3 = job.target_high.xy;
    let m4 = job.target_high.zw;
    // Here the host puts the initial state v0 ... v15 and the rounds.
    ROUNDS
    let digest = vec2(0xf2bdc900u, 0x6a09e667u) ^ v0 ^ v8;
    if digest.y < job.threshold.y || (digest.y == job.threshold.y && digest.x <= job.threshold.x) {
        if atomicAdd(&found.claims, 1u) == 0u {
            found.nonce = m0;
        }
    }
}
