//! Typed signatures.

use sealpost_pdf::signature;
use sealpost_pdf::typed::{MAX_CHARS, TypedError, picture};

#[test]
fn a_name_is_drawn_as_a_signature() {
    let names = [
        "张三",
        "欧阳娜娜",
        "王 小明",
        "Zhang San",
        "买买提·艾力",
        "䶮𬱖",
    ];
    for name in names {
        let png = picture(name).unwrap();
        assert_eq!(png, picture(name).unwrap(), "{name}: the same each time");
        let appearance = signature::appearance(&png).unwrap();
        assert!(
            appearance.width_pt > 20.0,
            "{name} is {} pt wide",
            appearance.width_pt
        );
    }
    assert_eq!(picture(" 张三\n"), picture("张三"), "white space is no ink");
    assert_ne!(picture("张三"), picture("张四"));
}

#[test]
fn long_names_become_smaller() {
    let long: String = "赛".repeat(MAX_CHARS);
    let png = picture(&long).unwrap();
    assert!(signature::appearance(&png).is_ok(), "{} bytes", png.len());
    assert_eq!(picture(&format!("{long}赛")), Err(TypedError::Length));
    assert_eq!(picture("  "), Err(TypedError::Length));
    assert_eq!(picture("张😀"), Err(TypedError::Missing('😀')));
}
