//! Where names are given and used: definitions, references and highlights.

use rbx_dockerfile::{Mention, Names, Role, Span, SubjectKind};
use tower_lsp::ls_types::{
    DocumentHighlight, DocumentHighlightKind, GotoDefinitionResponse, Location, LocationLink, Position,
};

use crate::documents::Snapshot;

/// Where what is named at a place is given: for a use the definition that counts there, for an `ARG` without a value
/// the one whose value it takes, for a base with variables every stage that it may be.
pub(crate) fn definition(snapshot: &Snapshot, position: Position) -> Option<GotoDefinitionResponse> {
    let names = snapshot.names();
    let offset = snapshot.offset(position);
    match names.at(offset).and_then(|mention| Some((mention.span(), given(names, mention)?))) {
        Some((origin, place)) => answer(snapshot, origin, vec![place]),
        None => guessed(snapshot, offset),
    }
}

/// Where what is named at a place is declared first: of a variable that a stage takes over from before the first
/// `FROM` it is there.
pub(crate) fn declaration(snapshot: &Snapshot, position: Position) -> Option<GotoDefinitionResponse> {
    let names = snapshot.names();
    let offset = snapshot.offset(position);
    let found = names.at(offset).and_then(|mention| Some((mention.span(), given(names, mention)?)));
    let Some((origin, mut place)) = found else { return guessed(snapshot, offset) };
    // A use means a definition, and that perhaps another one, which means none.
    while let Some(target) = names.at(place.start).filter(|it| it.target.is_some()) {
        place = given(names, target)?;
    }
    answer(snapshot, origin, vec![place])
}

/// Every place where what is named at a place is named.
pub(crate) fn references(
    snapshot: &Snapshot,
    position: Position,
    with_definitions: bool,
) -> Option<Vec<Location>> {
    let names = snapshot.names();
    let offset = snapshot.offset(position);
    let subject = names.at(offset)?.subject;
    let mentions = names.mentions_of(subject).filter(|it| with_definitions || !it.is_definition());
    let mut spans: Vec<Span> = mentions.map(Mention::span).collect();
    spans.extend(guesses(names, subject));
    spans.sort_unstable();
    Some(spans.into_iter().map(|span| Location::new(snapshot.uri.clone(), snapshot.range(span))).collect())
}

/// The same, with what is done there.
pub(crate) fn highlights(snapshot: &Snapshot, position: Position) -> Option<Vec<DocumentHighlight>> {
    let names = snapshot.names();
    let subject = names.at(snapshot.offset(position))?.subject;
    let kind = |mention: &Mention| match mention.role {
        Role::Definition => DocumentHighlightKind::WRITE,
        Role::End => DocumentHighlightKind::TEXT,
        _ => DocumentHighlightKind::READ,
    };
    let mentions = names.mentions_of(subject).map(|mention| (mention.span(), kind(mention)));
    let guesses = guesses(names, subject).map(|span| (span, DocumentHighlightKind::TEXT));
    let mut all: Vec<(Span, DocumentHighlightKind)> = mentions.chain(guesses).collect();
    all.sort_unstable_by_key(|(span, _)| *span);
    let highlight = |(span, kind)| DocumentHighlight { range: snapshot.range(span), kind: Some(kind) };
    Some(all.into_iter().map(highlight).collect())
}

/// The bases with variables that may be a stage.
fn guesses(names: &Names, subject: usize) -> impl Iterator<Item = Span> {
    names.guesses.iter().filter(move |guess| guess.subjects.contains(&subject)).map(|guess| guess.span)
}

fn guessed(snapshot: &Snapshot, offset: u32) -> Option<GotoDefinitionResponse> {
    let names = snapshot.names();
    let guess = names.guess_at(offset)?;
    let places = guess.subjects.iter().filter_map(|&subject| {
        names.mentions_of(subject).find(|mention| mention.is_definition()).map(Mention::span)
    });
    answer(snapshot, guess.span, places.collect())
}

/// Where the name of what is mentioned is given; of a stage without a name its keyword.
fn given(names: &Names, mention: &Mention) -> Option<Span> {
    if let Some(definition) = names.definition(mention) {
        return Some(definition.span());
    }
    match names.subject(mention)?.kind {
        SubjectKind::Stage { from, .. } => Some(from),
        SubjectKind::Variable | SubjectKind::Heredoc { .. } => None,
    }
}

fn answer(snapshot: &Snapshot, origin: Span, places: Vec<Span>) -> Option<GotoDefinitionResponse> {
    if places.is_empty() {
        return None;
    }
    if !snapshot.abilities.links {
        let location = |span| Location::new(snapshot.uri.clone(), snapshot.range(span));
        return Some(GotoDefinitionResponse::Array(places.into_iter().map(location).collect()));
    }
    let link = |span: Span| LocationLink {
        origin_selection_range: Some(snapshot.range(origin)),
        target_uri: snapshot.uri.clone(),
        target_range: snapshot.range(snapshot.tree().instruction_at(span.start).map_or(span, |it| it.span)),
        target_selection_range: snapshot.range(span),
    };
    Some(GotoDefinitionResponse::Link(places.into_iter().map(link).collect()))
}
