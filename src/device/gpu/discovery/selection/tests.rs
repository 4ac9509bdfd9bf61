use super::super::adapter::tests::example;
use super::*;

/// The indices that `text` selects, and the errors of unmatched selectors.
fn choose(
    text: &str,
    infos: &[AdapterInfo],
    software: SoftwareAdapters,
) -> (Vec<usize>, Vec<String>) {
    let infos: Vec<_> = infos.iter().collect();
    let selection: Selection = text.parse().unwrap();
    let (indices, unmatched) = selection.indices(&infos, software);
    (indices, unmatched.iter().map(ToString::to_string).collect())
}

#[test]
fn a_selection_chooses_in_the_order_of_the_list() {
    use SoftwareAdapters::{Allowed, Refused};
    let cases: &[(&str, SoftwareAdapters, &[usize])] = &[
        ("all", Refused, &[0, 1, 2]),
        ("ALL", Allowed, &[0, 1, 2]),
        ("2", Refused, &[2]),
        ("2, 0,2", Refused, &[0, 2]),
        ("0000:B3:00.0", Refused, &[1]),
        ("nvidia", Refused, &[0, 1]),
        ("nvidia l4,1", Refused, &[0, 1]),
        ("3", Allowed, &[3]),
        ("LLVMpipe", Allowed, &[3, 4]),
        // "amd radeon" and "llvmpipe" have an m; the latter only counts where it may be used.
        ("m", Refused, &[2]),
        ("m", Allowed, &[2, 3, 4]),
    ];
    for &(text, software, expected) in cases {
        let chosen = choose(text, &example(), software);
        assert_eq!(chosen, (expected.to_vec(), vec![]), "{text} {software:?}");
    }
}

#[test]
fn all_falls_back_to_software_only_where_nothing_else_is_there() {
    let software = &example()[3..];
    let nothing = (vec![], vec![]);
    assert_eq!(
        choose("all", software, SoftwareAdapters::Allowed),
        (vec![0, 1], vec![])
    );
    assert_eq!(choose("all", software, SoftwareAdapters::Refused), nothing);
    assert_eq!(choose("all", &[], SoftwareAdapters::Allowed), nothing);
}

#[test]
fn an_unmatched_selector_is_an_error_that_lists_the_adapters_and_keeps_no_other_from_serving() {
    let there_is = "there are 0: NVIDIA L4 (0000:65:00.0), 1: NVIDIA L4 (0000:b3:00.0), \
                    2: AMD Radeon, 3: llvmpipe #3, 4: llvmpipe #4";
    let number = "; a number is an index, so write a model with its letters";
    let no_match = |part: &str| format!("no adapter matches {part:?}; {there_is}");
    let software = "is llvmpipe #3, a software adapter, and those are not allowed";
    let cases: [(&str, &[usize], Vec<String>); 6] = [
        ("5", &[], vec![no_match("5") + number]),
        ("0,intel", &[0], vec![no_match("intel")]),
        ("0000:00:00.0,1", &[1], vec![no_match("0000:00:00.0")]),
        ("3", &[], vec![format!("\"3\" {software}")]),
        ("0,llvmpipe", &[0], vec![format!("\"llvmpipe\" {software}")]),
        ("x,y", &[], vec![no_match("x"), no_match("y")]),
    ];
    for (text, indices, messages) in cases {
        let chosen = choose(text, &example(), SoftwareAdapters::Refused);
        assert_eq!(chosen, (indices.to_vec(), messages));
    }
    let (_, messages) = choose("0", &[], SoftwareAdapters::Allowed);
    assert_eq!(
        messages,
        [format!("no adapter matches \"0\"; there is none{number}")]
    );
}

#[test]
fn an_invalid_selection_is_an_error_with_the_rule() {
    for text in ["", " ", "0,", ",", "0,,1", "all,0"] {
        let error = text.parse::<Selection>().unwrap_err();
        assert_eq!(error, SelectionError::Syntax(text.to_owned()));
        assert!(error.to_string().contains("0000:65:00.0"));
    }
}

#[test]
fn a_selection_is_displayed_as_it_is_parsed() {
    for text in ["all", "0", "0,0000:65:00.0,radeon rx"] {
        let selection: Selection = text.parse().unwrap();
        assert_eq!(selection.to_string(), text);
    }
}
