//! Reading templates.

/// As deep as parentheses and blocks may nest.
const DEPTH: usize = 100;

const MISSING: &str = "missing value for command";

/// A part of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
}

/// Commands of which each is given what the one before made.
#[derive(Debug, Clone)]
pub(super) struct Pipeline(pub(super) Vec<Command>);

/// A function with its arguments, or a lone value.
#[derive(Debug, Clone)]
pub(super) struct Command(pub(super) Vec<Operand>);

/// A value of a command, and where it stands: its line, and the byte in it.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) kind: Kind,
    /// Fields of the value.
    pub(super) fields: Vec<String>,
    pub(super) place: (usize, usize),
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Dot,
    Root,
    Text(String),
    Number(i64),
    Bool(bool),
    Nil,
    Function(String),
    Pipeline(Pipeline),
}

/// The functions there are, and how many arguments each takes.
pub(super) const FUNCTIONS: [(&str, usize, usize); 22] = [
    ("and", 1, usize::MAX),
    ("eq", 2, usize::MAX),
    ("ge", 2, 2),
    ("gt", 2, 2),
    ("index", 1, usize::MAX),
    ("join", 2, 2),
    ("json", 1, 1),
    ("le", 2, 2),
    ("len", 1, 1),
    ("lower", 1, 1),
    ("lt", 2, 2),
    ("ne", 2, 2),
    ("not", 1, 1),
    ("or", 1, usize::MAX),
    ("pad", 3, 3),
    ("print", 0, usize::MAX),
    ("printf", 1, usize::MAX),
    ("println", 0, usize::MAX),
    ("split", 2, 2),
    ("title", 1, 1),
    ("truncate", 2, 2),
    ("upper", 1, 1),
];

pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut parser =
        Parser { pieces: pieces(text)?, at: 0, last_line: text.matches('\n').count() + 1, depth: 0 };
    let (nodes, end) = parser.block()?;
    match end {
        None => Ok(nodes),
        Some(End { word, line, .. }) => Err(error(line, &format!("unexpected {{{{{word}}}}}"))),
    }
}

fn error(line: usize, message: &str) -> String {
    format!("template: :{line}: {message}")
}

/// Text, or the tokens of an action.
enum Piece {
    Text(String),
    Action(Vec<Token>, usize),
}

#[derive(Debug, Clone)]
struct Token {
    kind: TokenKind,
    place: (usize, usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TokenKind {
    Dot,
    Root,
    Field(String),
    Text(String),
    Number(i64),
    Word(String),
    Open,
    Close,
    Pipe,
}

/// Cuts a template at its actions.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut at, mut trim) = (0, false);
    let mut lines = Lines { line: 1, start: 0 };
    loop {
        let open = text[at..].find("{{").map(|found| at + found);
        let mut plain = &text[at..open.unwrap_or(text.len())];
        if trim {
            plain = plain.trim_start();
        }
        let Some(open) = open else {
            pieces.push(Piece::Text(plain.to_owned()));
            return Ok(pieces);
        };
        lines.pass(text, at, open);
        let line = lines.line;
        let mut inner = open + 2;
        let space = |text: &str| text.starts_with([' ', '\t', '\r', '\n']);
        if text[inner..].starts_with('-') && space(&text[inner + 1..]) {
            plain = plain.trim_end();
            inner += 1;
        }
        pieces.push(Piece::Text(plain.to_owned()));
        let begun = text[inner..].trim_start();
        let close = if begun.starts_with("/*") {
            let start = text.len() - begun.len();
            let end = text[start..].find("*/").ok_or_else(|| error(line, "unclosed comment"))?;
            inner = start + end + 2;
            inner
                + text[inner..]
                    .find("}}")
                    .ok_or_else(|| error(line, "comment ends before closing delimiter"))?
        } else {
            let mut tokens = Vec::new();
            let close = scan(text, inner, lines, &mut tokens)?;
            pieces.push(Piece::Action(tokens, line));
            close
        };
        let body = &text[..close];
        trim = body.ends_with('-') && body[..body.len() - 1].ends_with([' ', '\t', '\r', '\n']);
        trim |= body.ends_with("/-") || begun.starts_with("/*") && body.ends_with('-');
        lines.pass(text, open, close);
        at = close + 2;
    }
}

/// Where lines begin.
#[derive(Debug, Clone, Copy)]
struct Lines {
    line: usize,
    start: usize,
}

impl Lines {
    /// Goes on over a part of the text.
    fn pass(&mut self, text: &str, from: usize, to: usize) {
        let passed = &text[from..to];
        if let Some(last) = passed.rfind('\n') {
            self.line += passed.matches('\n').count();
            self.start = from + last + 1;
        }
    }
}

/// Reads the tokens of an action up to its end; answers where that is.
fn scan(text: &str, from: usize, mut lines: Lines, tokens: &mut Vec<Token>) -> Result<usize, String> {
    let (mut at, line) = (from, lines.line);
    let name = |from: usize| {
        let rest = &text[from..];
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    };
    loop {
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else { return Err(error(line, "unclosed action")) };
        if rest.starts_with("}}") {
            return Ok(at);
        }
        if rest.starts_with("-}}") && text[..at].ends_with([' ', '\t', '\r', '\n']) {
            return Ok(at + 1);
        }
        let start = at;
        let place = (lines.line, start - lines.start);
        let kind = match first {
            ' ' | '\t' | '\r' | '\n' => {
                at += 1;
                lines.pass(text, start, at);
                continue;
            }
            '(' | ')' | '|' => {
                at += 1;
                match first {
                    '(' => TokenKind::Open,
                    ')' => TokenKind::Close,
                    _ => TokenKind::Pipe,
                }
            }
            '.' => {
                let field = name(at + 1);
                at += 1 + field.len();
                if field.is_empty() { TokenKind::Dot } else { TokenKind::Field(field.to_owned()) }
            }
            '$' => {
                at += 1;
                if !name(at).is_empty() {
                    return Err(error(line, "variables are not supported here"));
                }
                TokenKind::Root
            }
            '"' | '`' => {
                let (value, length) = quoted(rest, first).map_err(|message| error(line, message))?;
                at += length;
                TokenKind::Text(value)
            }
            '0'..='9' | '-' | '+' => {
                let digits =
                    rest[1..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(rest.len(), |at| at + 1);
                at += digits;
                let number = rest[..digits].parse();
                TokenKind::Number(
                    number.map_err(|_| error(line, &format!("bad number syntax: {:?}", &rest[..digits])))?,
                )
            }
            _ if first.is_alphabetic() || first == '_' => {
                let word = name(at);
                at += word.len();
                TokenKind::Word(word.to_owned())
            }
            _ => return Err(error(line, &format!("unexpected {first:?} in command"))),
        };
        lines.pass(text, start, at);
        tokens.push(Token { kind, place });
    }
}

/// A string in double quotes or backquotes, and its length with them.
fn quoted(text: &str, quote: char) -> Result<(String, usize), &'static str> {
    const UNTERMINATED: &str = "unterminated quoted string";
    let body = &text[1..];
    if quote == '`' {
        let end = body.find('`').ok_or("unterminated raw quoted string")?;
        return Ok((body[..end].to_owned(), end + 2));
    }
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, at + 2)),
            '\n' => return Err(UNTERMINATED),
            '\\' => value.push(match chars.next().ok_or(UNTERMINATED)?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other @ ('"' | '\\' | '\'') => other,
                _ => return Err("invalid syntax"),
            }),
            other => value.push(other),
        }
    }
    Err(UNTERMINATED)
}

/// What ends a block.
struct End {
    word: String,
    /// What follows `else`.
    rest: Vec<Token>,
    line: usize,
}

struct Parser {
    pieces: Vec<Piece>,
    at: usize,
    last_line: usize,
    depth: usize,
}

impl Parser {
    fn enter(&mut self, line: usize) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH { Err(error(line, "nested too deeply")) } else { Ok(()) }
    }

    /// Parts up to an `end`, an `else` or the template's end.
    fn block(&mut self) -> Result<(Vec<Node>, Option<End>), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.at) {
            self.at += 1;
            let (tokens, line) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    continue;
                }
                Piece::Action(tokens, line) => (tokens.clone(), *line),
            };
            let word = match tokens.first() {
                Some(Token { kind: TokenKind::Word(word), .. }) => word.clone(),
                _ => String::new(),
            };
            match word.as_str() {
                "end" | "else" => return Ok((nodes, Some(End { word, rest: tokens[1..].to_vec(), line }))),
                "if" | "with" | "range" => nodes.push(self.branch(&word, &tokens[1..], line)?),
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(error(line, &format!("{{{{{word}}}}} is not supported here")));
                }
                _ => nodes.push(Node::Action(self.pipeline(&tokens, line)?)),
            }
        }
        Ok((nodes, None))
    }

    fn branch(&mut self, word: &str, tokens: &[Token], line: usize) -> Result<Node, String> {
        self.enter(line)?;
        let condition = self.pipeline(tokens, line)?;
        let (yes, end) = self.block()?;
        let no = match end {
            Some(End { word: end, rest, line }) if end == "else" => match rest.split_first() {
                Some((Token { kind: TokenKind::Word(next), .. }, rest))
                    if matches!(&**next, "if" | "with") =>
                {
                    vec![self.branch(next, rest, line)?]
                }
                Some(_) => return Err(error(line, "unexpected input in else")),
                None => {
                    let (no, end) = self.block()?;
                    if end.is_none_or(|end| end.word != "end") {
                        return Err(error(self.last_line, "unexpected EOF"));
                    }
                    no
                }
            },
            Some(_) => Vec::new(),
            None => return Err(error(self.last_line, "unexpected EOF")),
        };
        self.depth -= 1;
        Ok(match word {
            "if" => Node::If(condition, yes, no),
            "with" => Node::With(condition, yes, no),
            _ => Node::Range(condition, yes, no),
        })
    }

    fn pipeline(&mut self, tokens: &[Token], line: usize) -> Result<Pipeline, String> {
        self.commands(tokens, &mut 0, line, false)
    }

    /// Reads from `at` on, up to the parenthesis that closes an `inner` pipeline.
    fn commands(
        &mut self,
        tokens: &[Token],
        at: &mut usize,
        line: usize,
        inner: bool,
    ) -> Result<Pipeline, String> {
        let mut done = Vec::new();
        let mut operands: Vec<Operand> = Vec::new();
        // Where a field would be one of the value before it.
        let mut touches: Option<(usize, usize)> = None;
        let mut closed = !inner;
        while let Some(token) = tokens.get(*at) {
            *at += 1;
            let after = |length: usize| Some((token.place.0, token.place.1 + length));
            let kind = match &token.kind {
                TokenKind::Close if inner => {
                    closed = true;
                    break;
                }
                TokenKind::Close => return Err(error(line, "unexpected right paren")),
                TokenKind::Pipe if operands.is_empty() => return Err(error(line, MISSING)),
                TokenKind::Pipe => {
                    done.push(Command(std::mem::take(&mut operands)));
                    touches = None;
                    continue;
                }
                TokenKind::Field(name) => {
                    match operands.last_mut() {
                        Some(last) if touches == Some(token.place) => last.fields.push(name.clone()),
                        _ => {
                            let fields = vec![name.clone()];
                            operands.push(Operand { kind: Kind::Dot, fields, place: token.place });
                        }
                    }
                    touches = after(1 + name.len());
                    continue;
                }
                TokenKind::Open => {
                    self.enter(line)?;
                    let pipeline = self.commands(tokens, at, line, true)?;
                    self.depth -= 1;
                    let close = tokens[*at - 1].place;
                    touches = Some((close.0, close.1 + 1));
                    operands.push(Operand {
                        kind: Kind::Pipeline(pipeline),
                        fields: Vec::new(),
                        place: token.place,
                    });
                    continue;
                }
                TokenKind::Dot => Kind::Dot,
                TokenKind::Root => Kind::Root,
                TokenKind::Text(text) => Kind::Text(text.clone()),
                TokenKind::Number(number) => Kind::Number(*number),
                TokenKind::Word(word) => match word.as_str() {
                    "true" => Kind::Bool(true),
                    "false" => Kind::Bool(false),
                    "nil" => Kind::Nil,
                    word if FUNCTIONS.iter().any(|(name, ..)| *name == word) => {
                        Kind::Function(word.to_owned())
                    }
                    word => return Err(error(line, &format!("function {word:?} not defined"))),
                },
            };
            touches = if matches!(kind, Kind::Root) { after(1) } else { None };
            operands.push(Operand { kind, fields: Vec::new(), place: token.place });
        }
        if !closed {
            return Err(error(line, "unclosed left paren"));
        }
        if operands.is_empty() {
            return Err(error(line, MISSING));
        }
        done.push(Command(operands));
        Ok(Pipeline(done))
    }
}
