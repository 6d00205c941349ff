//! RESP, Redis' protocol, as it goes out: commands.

use std::fmt::Display;
use std::io::Write as _;

/// Commands that are sent together, and answered in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipeline {
    bytes: Vec<u8>,
    commands: usize,
}

impl Pipeline {
    /// Begins the next command, of so many arguments, its name among them.
    pub(crate) fn command(&mut self, arguments: usize) -> Command<'_> {
        self.commands += 1;
        Command::new(&mut self.bytes, arguments)
    }

    /// Adds a command whose arguments are text.
    pub(crate) fn add<const N: usize>(&mut self, arguments: [&str; N]) -> &mut Self {
        {
            let mut command = self.command(N);
            for argument in arguments {
                command.arg(argument);
            }
        }
        self
    }

    /// How many commands it has, and so how many replies it gets.
    pub(crate) fn len(&self) -> usize {
        self.commands
    }

    /// What is sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes a command, argument by argument: as many as were said when it was begun.
pub(crate) struct Command<'a> {
    out: &'a mut Vec<u8>,
    #[cfg(debug_assertions)]
    left: usize,
}

#[cfg(debug_assertions)]
impl Drop for Command<'_> {
    fn drop(&mut self) {
        // Else the server takes a part of the next command for an argument of this one.
        assert!(
            self.left == 0 || std::thread::panicking(),
            "too few arguments"
        );
    }
}

impl<'a> Command<'a> {
    /// Begins a command of so many arguments, its name among them.
    pub(crate) fn new(out: &'a mut Vec<u8>, arguments: usize) -> Self {
        push_header(out, b'*', arguments as u64);
        Self {
            out,
            #[cfg(debug_assertions)]
            left: arguments,
        }
    }

    /// Takes note of an argument of so many bytes.
    fn begin(&mut self, bytes: usize) {
        #[cfg(debug_assertions)]
        {
            self.left = self.left.checked_sub(1).expect("too many arguments");
        }
        push_header(self.out, b'$', bytes as u64);
    }

    pub(crate) fn arg(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.begin(bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        let mut digits = [0; MAX_DIGITS];
        self.arg(decimal(number, &mut digits))
    }

    /// Writes an argument that is in parts.
    pub(crate) fn parts<const N: usize>(&mut self, parts: [impl AsRef<[u8]>; N]) -> &mut Self {
        let size: usize = parts.iter().map(|part| part.as_ref().len()).sum();
        self.begin(size);
        for part in parts {
            self.out.extend_from_slice(part.as_ref());
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn display(&mut self, value: impl Display) -> &mut Self {
        let start = self.out.len();
        // Writing to memory cannot fail.
        let _ = write!(self.out, "{value}");
        let end = self.out.len();
        // Its length, which is known only now, goes before it.
        self.begin(end - start);
        let header = self.out.len() - end;
        self.out[start..].rotate_right(header);
        self.out.extend_from_slice(b"\r\n");
        self
    }
}

/// How many digits a number has at most.
const MAX_DIGITS: usize = 20;

/// Writes the line that says how much follows of what.
fn push_header(out: &mut Vec<u8>, kind: u8, number: u64) {
    let mut digits = [0; MAX_DIGITS];
    let digits = decimal(number, &mut digits);
    let mut line = [0; MAX_DIGITS + 3];
    line[0] = kind;
    let end = 1 + digits.len();
    line[1..end].copy_from_slice(digits);
    line[end..end + 2].copy_from_slice(b"\r\n");
    // One copy to the heap instead of three.
    out.extend_from_slice(&line[..end + 2]);
}

fn decimal(mut number: u64, digits: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut start = MAX_DIGITS;
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = Vec::new();
        Command::new(&mut out, 5)
            .arg("PUBLISH")
            .display(format_args!("a{}", "b".repeat(9)))
            .parts(["a", "", "b"])
            .number(1_234)
            .arg(b"\r\n\xff");
        let expected =
            b"*5\r\n$7\r\nPUBLISH\r\n$10\r\nabbbbbbbbb\r\n$2\r\nab\r\n$4\r\n1234\r\n$3\r\n\r\n\xff\r\n";
        assert_eq!(out, expected);
        let same = redis::cmd("PUBLISH")
            .arg("abbbbbbbbb")
            .arg("ab")
            .arg(1_234)
            .arg(b"\r\n\xff")
            .get_packed_command();
        assert_eq!(out, same);
    }

    #[test]
    fn numbers_are_written_as_by_the_standard_library() {
        for number in [0, 9, 10, 123, u64::MAX] {
            let mut digits = [0; MAX_DIGITS];
            assert_eq!(decimal(number, &mut digits), number.to_string().as_bytes());
        }
    }

    #[test]
    fn a_pipeline_is_its_commands_one_after_the_other() {
        let mut pipeline = Pipeline::default();
        pipeline.add(["INFO", "server"]).command(1).arg("PING");
        assert_eq!(pipeline.len(), 2);
        let expected = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n*1\r\n$4\r\nPING\r\n";
        assert_eq!(pipeline.bytes(), expected);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "too few arguments")]
    fn an_argument_that_is_missing_is_noticed() {
        Pipeline::default().command(2).arg("GET");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "too many arguments")]
    fn an_argument_too_many_is_noticed() {
        Pipeline::default().command(1).arg("PING").arg("twice");
    }
}
