//! Passwords of operators: Argon2id with the parameters that OWASP recommends (19 MiB, two passes), away from the async
//! threads and few at a time, so that sign-ins cannot take all memory.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use crate::secrets::random;

/// The fewest characters of a password.
pub(crate) const MIN_CHARACTERS: usize = 10;

/// The most characters, so that nobody lets us hash megabytes.
pub(crate) const MAX_CHARACTERS: usize = 128;

/// Hashes computed at one moment.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// What an unknown name is checked against, so that it takes as long as a known one.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2VhbHBvc3Qtbm9ib2R5$3jvGCUoKvGkKVNvLX2yVfbEYbJWjiRwUGqVzGuM5zYk";

/// Whether a password is long enough, and not too long.
pub(crate) fn is_fit(password: &str) -> bool {
    (MIN_CHARACTERS..=MAX_CHARACTERS).contains(&password.chars().count())
}

/// The hash of a password, in PHC form; `None` if the system gives no randomness or no memory.
pub(crate) async fn hash(password: String) -> Option<String> {
    run(move || {
        let salt = random::<16>().ok()?;
        let hash = Argon2::default()
            .hash_password_with_salt(password.as_bytes(), &salt)
            .ok()?;
        Some(hash.to_string())
    })
    .await
    .flatten()
}

/// Whether the password is the one of this hash. Without a hash, or with an empty one, it is wrong, and takes as long to be
/// so.
pub(crate) async fn verify(password: String, hash: Option<String>) -> bool {
    run(move || {
        let hash = hash.filter(|hash| !hash.is_empty());
        let known = hash.is_some();
        let Ok(hash) = PasswordHash::new(hash.as_deref().unwrap_or(NOBODY)) else {
            return false;
        };
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
            && known
    })
    .await
    .unwrap_or(false)
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let permit = AT_ONCE.acquire().await.ok()?;
    // The work goes on when whoever asked hangs up, and so it keeps its place until it is done.
    let work = move || {
        let _permit = permit;
        work()
    };
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_fits() {
        let hash = hash("correct horse".to_owned()).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(verify("correct horse".to_owned(), Some(hash.clone())).await);
        assert!(!verify("correct horsf".to_owned(), Some(hash)).await);
        assert!(!verify("correct horse".to_owned(), None).await);
        assert!(!verify(String::new(), Some(String::new())).await);
        assert!(!verify("correct horse".to_owned(), Some("nonsense".to_owned())).await);
        assert!(PasswordHash::new(NOBODY).is_ok());
    }
}
