//! Goal: what once broke a codec never does again. Method: every file of the corpus goes through its
//! target; a file whose name begins with `good-` must decode, one with `bad-` must not.

use narrows_fuzz::TARGETS;
use std::path::PathBuf;

#[test]
fn corpus() {
    for target in TARGETS {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        let files =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut good = 0;
        for file in files {
            let path = file.unwrap().path();
            let decoded = (target.run)(&std::fs::read(&path).unwrap());
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(decoded || !name.starts_with("good-"), "{} does not decode", path.display());
            assert!(!decoded || !name.starts_with("bad-"), "{} decodes", path.display());
            good += usize::from(decoded);
        }
        assert!(good > 0, "the corpus of {} holds something that decodes", target.name);
    }
}
