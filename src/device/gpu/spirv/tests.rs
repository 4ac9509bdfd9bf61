use super::*;

const PAIR: &str = "
    fn add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
        let low = u64(a.x) + u64(b.x);
        return vec2(u32(low), a.y + b.y + u32(low >> 32u));
    }";
const MAIN: &str = "
    @group(0) @binding(0) var<storage, read_write> words: array<vec2<u32>, 3>;
    override SIZE: u32;
    @compute @workgroup_size(SIZE) fn main() { words[2] = add(words[0], words[1]); }";

fn words(add: &str) -> Vec<u32> {
    translate(&[add, MAIN].concat(), "main", &[("SIZE", 8.0)]).unwrap()
}

/// Every instruction of every function, and the bound on the ids.
fn instructions(words: &[u32]) -> (Vec<Instruction>, u32) {
    let module = dr::load_words(words).unwrap();
    let bound = module.header.as_ref().unwrap().bound;
    let blocks = module
        .functions
        .iter()
        .flat_map(|function| &function.blocks);
    let instructions = blocks.flat_map(|block| block.instructions.clone());
    (instructions.collect(), bound)
}

fn refusal(text: &str) -> String {
    let words = translate(text, "main", &[("SIZE", 8.0)]).unwrap();
    match add_as_u64(&words, "add") {
        Err(SpirvError::Change(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_new_body_adds_64_bit_integers() {
    let before = words(PAIR);
    let u64_type = integer_type(&dr::load_words(&before).unwrap(), 64).unwrap();
    let after = add_as_u64(&before, "add").unwrap();
    let (after, bound) = instructions(&after);
    let additions: Vec<_> = after
        .iter()
        .filter(|i| i.class.opcode == Op::IAdd)
        .collect();
    let [addition] = additions[..] else {
        panic!("{additions:?}")
    };
    assert_eq!(addition.result_type, Some(u64_type));
    // It adds the parameters in their order, and its result is returned.
    let casts: Vec<_> = after
        .iter()
        .filter(|i| i.class.opcode == Op::Bitcast)
        .collect();
    let [first, second, sum] = casts[..] else {
        panic!("{casts:?}")
    };
    assert_eq!(
        addition.operands,
        [first, second].map(|cast| Operand::IdRef(cast.result_id.unwrap()))
    );
    assert_eq!(sum.operands, [Operand::IdRef(addition.result_id.unwrap())]);
    // The ids are new, and the bound covers them.
    let (_, bound_before) = instructions(&before);
    for cast in casts {
        assert!((bound_before..bound).contains(&cast.result_id.unwrap()));
    }
}

#[test]
fn nothing_else_changes() {
    let before = dr::load_words(words(PAIR)).unwrap();
    let after = dr::load_words(add_as_u64(&before.assemble(), "add").unwrap()).unwrap();
    let rest = |mut module: dr::Module| {
        module.header = None;
        for function in &mut module.functions {
            if function.parameters.len() == 2 {
                function.blocks.clear();
            }
        }
        module.assemble()
    };
    assert_ne!(before.assemble(), after.assemble());
    assert_eq!(rest(before), rest(after));
}

/// The controls of every loop.
fn loop_controls(words: &[u32]) -> Vec<Operand> {
    let (instructions, _) = instructions(words);
    let loops = instructions
        .into_iter()
        .filter(|instruction| instruction.class.opcode == Op::LoopMerge);
    loops.map(|merge| merge.operands[2].clone()).collect()
}

#[test]
fn every_loop_asks_not_to_be_unrolled_and_nothing_else_changes() {
    let counting = MAIN.replace(
        "words[2] = add(words[0], words[1]);",
        "for (var i = 0u; i < 4u; i++) { while words[0].x < 9u { words[2] = add(words[0], words[1]); } }",
    );
    let before = translate(&[PAIR, &counting].concat(), "main", &[("SIZE", 8.0)]).unwrap();
    let after = keep_loops(&before).unwrap();
    let control = |control| vec![Operand::LoopControl(control); 2];
    assert_eq!(loop_controls(&before), control(LoopControl::NONE));
    assert_eq!(loop_controls(&after), control(LoopControl::DONT_UNROLL));
    // The header names another generator.
    let differences = before.iter().zip(&after).skip(5).filter(|(a, b)| a != b);
    assert_eq!((before.len(), differences.count()), (after.len(), 2));
    let refused = keep_loops(&words(PAIR));
    assert_eq!(
        refused,
        Err(SpirvError::Change("it has no loop".to_owned()))
    );
}

#[test]
fn a_module_without_the_function_or_the_type_is_an_error() {
    let text = [PAIR, MAIN].concat();
    let changed = |from: &str, to: &str| {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        refusal(&changed)
    };
    let renamed = changed("add(", "sum(");
    assert!(renamed.contains("0 functions of the name add"), "{renamed}");
    // Without a u64 there is no type for the sum.
    let narrow = text.replace(
        PAIR,
        "fn add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a + b; }",
    );
    let narrow = refusal(&narrow);
    assert!(narrow.contains("no type of 64-bit integers"), "{narrow}");
    let three = text
        .replace("b: vec2<u32>)", "b: vec2<u32>, c: u32)")
        .replace("words[1])", "words[1], 0u)");
    let three = refusal(&three);
    assert!(three.contains("not a function of two"), "{three}");
}

#[test]
fn a_broken_module_is_an_error() {
    let whole = words(PAIR);
    for broken in [&[][..], &whole[..4], &whole[..whole.len() - 2]] {
        for refused in [add_as_u64(broken, "add"), keep_loops(broken)] {
            assert!(matches!(refused, Err(SpirvError::Change(_))), "{refused:?}");
        }
    }
}

#[test]
fn invalid_wgsl_is_an_error() {
    for (text, entry_point, constants) in [
        ("fn", "main", &[("SIZE", 8.0)][..]),
        (MAIN, "main", &[("SIZE", 8.0)]),
        (&[PAIR, MAIN].concat(), "other", &[("SIZE", 8.0)]),
        (&[PAIR, MAIN].concat(), "main", &[]),
    ] {
        let refused = translate(text, entry_point, constants);
        assert!(
            matches!(refused, Err(SpirvError::Translate(_))),
            "{refused:?}"
        );
    }
}
