//! What the headers of binaries have to say.

use polyarch_pack::{PackError, Warning, pack};

use crate::workshop::{Workshop, elf};

#[tokio::test]
async fn a_binary_for_another_platform_is_refused_with_both_names() {
    let shop = Workshop::new();
    let mut request = shop.request(&["linux/amd64", "linux/arm64"]);
    request.binaries[1].path = shop.file("wrong", elf("linux/riscv64", None));
    let error = pack(&request).await.unwrap_err();
    assert_eq!(error.to_string(), format!("pack `{}` for `linux/arm64`", shop.path("wrong").display()));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "the executable is for linux/riscv64, not for linux/arm64");
    assert_eq!(error.hint().unwrap(), "say `linux/riscv64=…` if the binary is right, or build it for `linux/arm64`");
}

#[tokio::test]
async fn what_is_no_executable_is_refused() {
    let shop = Workshop::new();
    let mut request = shop.request(&["linux/amd64"]);
    for (content, what) in [
        ("#!/bin/sh\necho\n", "a script, run by `/bin/sh`: no platform follows from it"),
        ("", "the file is empty"),
        ("hello", "not an executable of a known format: it starts with `68 65 6c 6c 6f`"),
    ] {
        request.binaries[0].path = shop.file("it", content);
        let error = pack(&request).await.unwrap_err();
        assert!(matches!(error, PackError::NotExecutable { .. }), "{error}");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), what);
    }
    request.binaries[0].path = shop.path("none");
    let error = pack(&request).await.unwrap_err();
    assert_eq!(error.to_string(), format!("read `{}`", shop.path("none").display()));
}

#[tokio::test]
async fn a_dynamic_binary_without_a_base_is_warned_about_with_its_interpreter() {
    let shop = Workshop::new();
    let mut request = shop.request(&["linux/amd64"]);
    let path = shop.file("dynamic", elf("linux/amd64", Some("/lib64/ld-linux-x86-64.so.2")));
    request.binaries[0].path.clone_from(&path);
    let packed = pack(&request).await.unwrap();
    let [Warning::Dynamic { interpreter, .. }] = packed.warnings() else { panic!("{:?}", packed.warnings()) };
    assert_eq!(interpreter.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
    assert_eq!(
        packed.warnings()[0].to_string(),
        format!(
            "`{}` for `linux/amd64` is linked dynamically: it needs `/lib64/ld-linux-x86-64.so.2`, which is not in \
             the image: give a `--base` that has it, or link statically",
            path.display()
        )
    );
}

#[tokio::test]
async fn platforms_are_given_once_and_windows_is_refused() {
    let shop = Workshop::new();
    let mut request = shop.request(&["linux/arm64", "linux/amd64"]);
    request.binaries[1].platform = "linux/arm64/v8".parse().unwrap();
    let error = pack(&request).await.unwrap_err();
    assert!(error.to_string().starts_with("pack two binaries for `linux/arm64`: "), "{error}");
    request.binaries[1].platform = "windows/amd64".parse().unwrap();
    let error = pack(&request).await.unwrap_err();
    assert_eq!(error.to_string(), "pack for `windows/amd64`: layers for Windows are not supported yet");
    request.binaries.clear();
    assert!(matches!(pack(&request).await.unwrap_err(), PackError::NoBinaries));
}
