//! Values that have fields: `type=oci,dest=app.tar`, one line of CSV.

/// Splits one line of CSV: fields may be quoted by `"`, and a quote inside is doubled.
pub(super) fn fields(text: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return Err(format!("a bare `\"` in `{text}`: quote the whole field, like `\"dest=a,b\"`")),
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    if quoted {
        return Err(format!("the quote in `{text}` is not closed"));
    }
    fields.push(field);
    Ok(fields)
}

/// Returns key, in lower case, and value of a field.
pub(super) fn pair(field: &str) -> Result<(String, &str), String> {
    match field.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_ascii_lowercase(), value)),
        _ => Err(format!("`{field}` is no `KEY=VALUE`")),
    }
}
