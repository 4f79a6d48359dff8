//! Rendering in a process of its own.
//!
//! A few kilobytes of PDF can ask for days of work and for all memory there is. The process that renders a page has limits on
//! both, which the kernel keeps; if it dies, only that page is not shown. It is this program, started again: it gets the
//! request and the document on its standard input and answers on its standard output.

use std::ffi::OsString;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::{RenderError, page_png_here};
use crate::find::find_word_here;

/// The processor time that a page is given.
const PROCESSOR_SECONDS: u64 = 10;
/// The memory that a page is given, in bytes of address space.
const MEMORY: u64 = 2 << 30;
/// How long is waited for a page, the processor being busy with other things too.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer.
const MAX_ANSWER: u64 = 64 << 20;
/// Set in the environment of a process that is to render.
const MARK: &str = "SEALPOST_RENDER_WORKER";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Makes [`super::page_png`] work in processes of its own. To be called first in `main`, whose program is then started again
/// for each page: when it returns an exit code, this is such a process and its work is done.
///
/// The limits are 10 s of processor time and 2 GiB of memory a page.
pub fn isolate() -> Option<ExitCode> {
    if std::env::var_os(MARK).is_some() {
        return Some(match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        });
    }
    // The link stays good when the file is replaced by a newer version.
    let running = Path::new("/proc/self/exe");
    let program = if running.exists() {
        Some(running.to_owned())
    } else {
        std::env::current_exe().ok()
    };
    if let Some(program) = program {
        PROGRAM.get_or_init(|| program);
    }
    None
}

pub(super) fn program() -> Option<&'static Path> {
    PROGRAM.get().map(PathBuf::as_path)
}

/// What is asked of the process; a line of JSON before the document.
#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    /// A page as a PNG.
    Page { page: usize, width: u32 },
    /// The places of a word, as JSON.
    Word(String),
}

/// In the process that renders: one request, one answer.
fn serve() -> io::Result<()> {
    for (resource, most) in [
        (Resource::Cpu, PROCESSOR_SECONDS),
        (Resource::As, MEMORY),
        (Resource::Core, 0),
    ] {
        setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
            },
        )?;
    }
    let mut input = io::stdin().lock();
    let mut head = String::new();
    input.read_line(&mut head)?;
    let mut pdf = Vec::new();
    input.read_to_end(&mut pdf)?;
    let answer = match serde_json::from_str(&head)? {
        Request::Page { page, width } => page_png_here(&pdf, page, width),
        Request::Word(word) => match find_word_here(&pdf, &word) {
            Ok(found) => Ok(serde_json::to_vec(&found)?),
            Err(error) => Err(error),
        },
    };
    let (sign, answer) = match answer {
        Ok(answer) => (b"+", answer),
        Err(error) => (b"-", serde_json::to_vec(&error)?),
    };
    let mut output = io::stdout().lock();
    output.write_all(sign)?;
    output.write_all(&answer)?;
    output.flush()
}

/// Has a request answered by another process.
pub(super) fn ask(program: &Path, request: &Request, pdf: &[u8]) -> Result<Vec<u8>, RenderError> {
    let failed = |error: io::Error| RenderError::Exhausted(format!("rendering failed: {error}"));
    let child = Command::new(program)
        // Nothing of what this process was told, such as its secrets, is for that one.
        .env_clear()
        .env(MARK, OsString::from("1"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let answer = converse(child, request, pdf).map_err(failed)?;
    match answer.split_first() {
        Some((b'+', png)) => Ok(png.to_vec()),
        Some((b'-', error)) => Err(serde_json::from_slice(error)
            .unwrap_or_else(|_| RenderError::Exhausted("rendering failed".to_owned()))),
        _ => Err(RenderError::Exhausted(format!(
            "it takes more than {PROCESSOR_SECONDS} seconds or {} MiB to render",
            MEMORY >> 20
        ))),
    }
}

/// Everything that the process answers before it ends, which it does in time or is ended.
fn converse(mut child: Child, request: &Request, pdf: &[u8]) -> io::Result<Vec<u8>> {
    let mut head = serde_json::to_vec(request)?;
    head.push(b'\n');
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (done, waited_for) = mpsc::channel::<()>();
    thread::scope(|scope| {
        // Ends the process when its time is over, and takes its exit status in any case.
        scope.spawn(move || {
            if waited_for.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = child.kill();
            }
            let _ = child.wait();
        });
        if let Some(mut input) = input {
            // A process that has died does not listen; its answer tells.
            let _ = input.write_all(&head).and_then(|()| input.write_all(pdf));
        }
        let mut answer = Vec::new();
        let read = output.map(|output| output.take(MAX_ANSWER).read_to_end(&mut answer));
        drop(done);
        read.transpose()?;
        Ok(answer)
    })
}
