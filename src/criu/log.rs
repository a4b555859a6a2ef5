//! Finds the reason of a failure in CRIU's log.
//!
//! CRIU answers a failed request with little more than "failed"; why is the first line
//! of its log that says `Error (`. Lines about resource limits are passed over: CRIU
//! complains of them where it may not raise its own, and goes on.

use std::io::{BufRead, BufReader, Read};

/// No more of a log is read than this.
const LONGEST_LOG: u64 = 1 << 20;

/// The reason in what CRIU prints before it has a log, or without one:
/// an error as in a log, else the first line that says anything.
pub fn reason_without_log(text: impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    text.take(LONGEST_LOG).read_to_end(&mut bytes).ok()?;
    reason(bytes.as_slice()).or_else(|| {
        let text = String::from_utf8_lossy(&bytes);
        text.lines()
            .map(|line| line.trim().trim_end_matches(':').trim())
            .find(|line| !line.is_empty())
            .map(str::to_owned)
    })
}

/// The reason in a log, without the time stamp and without CRIU's source position.
pub fn reason(log: impl Read) -> Option<String> {
    BufReader::new(log.take(LONGEST_LOG))
        .split(b'\n')
        .map_while(Result::ok)
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| !line.contains("rlimit"))
        .find_map(|line| {
            let (_, error) = line.split_once("Error (")?;
            let (_, message) = error.split_once("): ")?;
            Some(message.trim().to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::{reason, reason_without_log};

    #[test]
    fn without_a_log_the_first_line_counts() {
        let said = "CRIU needs to have the CAP_SYS_ADMIN or the CAP_CHECKPOINT_RESTORE capability: \nsetcap …\n";
        assert_eq!(
            reason_without_log(said.as_bytes()).as_deref(),
            Some("CRIU needs to have the CAP_SYS_ADMIN or the CAP_CHECKPOINT_RESTORE capability")
        );
        assert_eq!(reason_without_log(&b"\n"[..]), None);
    }

    #[test]
    fn the_first_error_that_matters() {
        let log = "(00.000012) Version: 4.1.1\n\
                   (00.000200) Error (criu/rlimit.c:15): rlimir: Can't setup RLIMIT_NOFILE\n\
                   (00.003041) Error (criu/sk-unix.c:873): sk unix: External socket is used. \n\
                   (00.003100) Error (criu/cr-dump.c:2111): Dumping FAILED.\n";
        assert_eq!(reason(log.as_bytes()).as_deref(), Some("sk unix: External socket is used."));
    }

    #[test]
    fn no_error_no_reason() {
        assert_eq!(reason(&b"(00.0001) Warn (x.c:1): hm\n"[..]), None);
        assert_eq!(reason(&b""[..]), None);
    }
}
