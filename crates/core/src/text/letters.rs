//! One character as the Latin letter it looks like.

/// The ASCII letter that a character of another alphabet, or a Latin letter with a stroke or hook, is easily taken for.
///
/// Source: Unicode's `confusables.txt`, version 18.0 (UTS #39): every letter of the Latin, IPA, Greek, Cyrillic, Armenian, Cherokee, Coptic and
/// Lisu blocks whose prototype, without its marks, is one ASCII letter, and that NFKD does not turn into one already. The source takes capital
/// I for l; here the capitals that look like I stay I. An ASCII capital stands for what looks like one: all of Lisu does.
#[rustfmt::skip] // one line a letter
pub(super) const fn look_alike(c: char) -> Option<u8> {
    Some(match c {
        'Α' | 'А' | 'Ꭺ' | 'ꓮ' => b'A',
        'Β' | 'В' | 'Ᏼ' | 'ꓐ' | 'Ꞵ' | 'Ⲃ' => b'B',
        'С' | 'Ҫ' | 'Ꮯ' | 'ꓚ' | 'Ⲥ' => b'C',
        'Ð' | 'Đ' | 'Ɖ' | 'Ꭰ' | 'ꓓ' => b'D',
        'Ɇ' | 'Ε' | 'Е' | 'Ꭼ' | 'ꓰ' => b'E',
        'Ƒ' | 'Ϝ' | 'ꓝ' | 'Ꞙ' => b'F',
        'Ǥ' | 'Ԍ' | 'Ꮐ' | 'Ᏻ' | 'ꓖ' => b'G',
        'Ħ' | 'Η' | 'Н' | 'Ң' | 'Ӈ' | 'Ӊ' | 'Ꮋ' | 'ꓧ' | 'Ⱨ' | 'Ⲏ' => b'H',
        'Ɩ' | 'Ɨ' | 'Ι' | 'І' | 'Ӏ' | 'Ⲓ' | 'ꓲ' | 'Ɪ' | 'ꟾ' => b'I',
        'Ɉ' | 'Ϳ' | 'Ј' | 'Ꭻ' | 'ꓙ' | 'Ʝ' => b'J',
        'Κ' | 'К' | 'Қ' | 'Ҟ' | 'Ꮶ' | 'ꓗ' | 'Ⱪ' | 'Ꝁ' | 'Ⲕ' => b'K',
        'Ł' | 'Ꮮ' | 'ꓡ' | 'Ⳑ' => b'L',
        'Μ' | 'Ϻ' | 'М' | 'Ӎ' | 'Ꮇ' | 'ꓟ' | 'Ⲙ' => b'M',
        'Ɲ' | 'Ν' | 'ꓠ' | 'Ⲛ' => b'N',
        'Ø' | 'Ɵ' | 'Θ' | 'Ο' | 'θ' | 'О' | 'Ѳ' | 'Ө' | 'Օ' | 'Ꭴ' | 'Ꮎ' | 'Ꮻ' | 'ꓳ' | 'Ꝋ' | 'Ⲑ' | 'Ⲟ' => b'O',
        'Ρ' | 'Р' | 'Ꮲ' | 'ꓑ' | 'Ⲣ' | 'Ⳏ' => b'P',
        'Ԛ' => b'Q',
        'Ʀ' | 'Ɍ' | 'Ꭱ' | 'Ꮢ' | 'ꓣ' => b'R',
        'Ѕ' | 'Տ' | 'Ꮥ' | 'Ꮪ' | 'ꓢ' | 'Ʂ' => b'S',
        'Ŧ' | 'Ʈ' | 'Ⱦ' | 'Τ' | 'Т' | 'Ҭ' | 'Ꭲ' | 'ꓔ' | 'Ⲧ' => b'T',
        'Ʉ' | 'Ս' | 'Ꮜ' | 'ꓴ' => b'U',
        'Ѵ' | 'Ꮩ' | 'ꓦ' => b'V',
        'Ԝ' | 'Ꮃ' | 'Ꮤ' | 'ꓪ' => b'W',
        'Χ' | 'Х' | 'Ҳ' | 'ꓫ' | 'Ꭓ' | 'Ⲭ' => b'X',
        'Ɏ' | 'Υ' | 'У' | 'Ү' | 'Ұ' | 'Ꭹ' | 'Ꮍ' | 'ꓬ' | 'Ⲩ' => b'Y',
        'Ƶ' | 'Ȥ' | 'Ζ' | 'Ꮓ' | 'ꓜ' | 'Ⱬ' | 'Ⲍ' => b'Z',
        'ɑ' | 'α' | 'а' | 'ꭤ' => b'a',
        'ƀ' | 'Ƃ' | 'ƃ' | 'Ƅ' | 'ɓ' | 'Б' | 'Ь' | 'Ѣ' | 'ѣ' | 'Ҍ' | 'ҍ' | 'Ꮟ' => b'b',
        'ȼ' | 'с' | 'ҫ' | 'ꮯ' | 'ⲥ' => b'c',
        'đ' | 'Ƌ' | 'ƌ' | 'ɖ' | 'ɗ' | 'ԁ' | 'Ꮷ' | 'ꓒ' => b'd',
        'ɇ' | 'е' | 'ҽ' | 'ҿ' | 'ꬲ' => b'e',
        'ƒ' | 'ʄ' | 'ᵮ' | 'ẝ' | 'ք' | 'ꞙ' | 'ꬵ' => b'f',
        'ƍ' | 'ǥ' | 'ɠ' | 'ɡ' | 'ᶃ' | 'ց' => b'g',
        'ħ' | 'ɦ' | 'ћ' | 'Һ' | 'һ' | 'հ' | 'Ꮒ' | 'Ᏺ' => b'h',
        'ı' | 'ɨ' | 'ɩ' | 'ᵻ' | 'ᵼ' | 'ι' | 'і' | 'ւ' | 'Ꭵ' | 'ꭵ' | 'ⲓ' => b'i',
        'ȷ' | 'ɉ' | 'ɟ' | 'ϳ' | 'ј' | 'յ' => b'j',
        'ƙ' => b'k',
        'ł' | 'ƚ' | 'ǀ' | 'ɫ' | 'ɭ' | 'ӏ' | 'ꞁ' => b'l',
        'ŋ' | 'ƞ' | 'ɲ' | 'ɳ' | 'ᵰ' | 'η' | 'ղ' | 'ո' | 'ռ' => b'n',
        'ø' | 'ɵ' | 'ᴑ' | 'ο' | 'σ' | 'ϭ' | 'о' | 'ѳ' | 'ө' | 'օ' | 'ꭴ' | 'ꮎ' | 'ꮻ' | 'ꝋ' | 'ⲑ' | 'ⲟ' | 'ꬽ' | 'ꬾ' => b'o',
        'þ' | 'ƥ' | 'ƿ' | 'ᵽ' | 'ρ' | 'ϸ' | 'р' | 'ⲣ' | 'ⳏ' => b'p',
        'ʠ' | 'ԛ' | 'գ' | 'զ' => b'q',
        'ɍ' | 'ɼ' | 'ɽ' | 'ᴦ' | 'ᵲ' | 'г' | 'ғ' | 'ꮁ' | 'ⲅ' | 'ꭇ' | 'ꭈ' => b'r',
        'ƽ' | 'ʂ' | 'ᵴ' | 'ѕ' | 'ꮪ' => b's',
        'ŧ' | 'ƫ' | 'ƭ' | 'ᵵ' | 'Ꮏ' => b't',
        'ʋ' | 'ᵾ' | 'υ' | 'џ' | 'ս' | 'ꮜ' | 'ꞟ' | 'ꭎ' | 'ꭒ' => b'u',
        'ν' | 'ѵ' | 'ꮩ' => b'v',
        'ɯ' | 'ш' | 'ѡ' | 'ѽ' | 'ԝ' | 'ա' | 'ꮃ' | 'ꮤ' | 'ꝡ' | 'ꟺ' | 'ⲽ' => b'w',
        'х' => b'x',
        'ƴ' | 'ɏ' | 'ɣ' | 'ᶌ' | 'γ' | 'у' | 'ү' | 'ұ' | 'ⲩ' | 'ỿ' | 'ꭚ' => b'y',
        'ƶ' | 'ȥ' | 'ʐ' | 'ᵶ' | 'ꮓ' | 'ⱬ' | 'ⲍ' => b'z',
        '\u{1F150}'..='\u{1F169}' => b'A' + ((c as u32 & 0xFF) as u8 - 0x50), // white on a black circle: no compatibility form
        '\u{1F170}'..='\u{1F189}' => b'A' + ((c as u32 & 0xFF) as u8 - 0x70), // on a black square
        _ => return small_capital(c),
    })
}

/// Letters called LATIN LETTER SMALL CAPITAL in `UnicodeData.txt`: capitals to whoever reads them.
#[rustfmt::skip]
const fn small_capital(c: char) -> Option<u8> {
    Some(match c {
        'ᴀ' => b'A', 'ʙ' => b'B', 'ᴄ' => b'C', 'ᴅ' => b'D', 'ᴇ' => b'E', 'ꜰ' => b'F',
        'ɢ' => b'G', 'ʜ' => b'H', 'ɪ' => b'I', 'ᴊ' => b'J', 'ᴋ' => b'K', 'ʟ' => b'L',
        'ᴍ' => b'M', 'ɴ' => b'N', 'ᴏ' => b'O', 'ᴘ' => b'P', 'ꞯ' => b'Q', 'ʀ' => b'R', 'ꜱ' => b'S',
        'ᴛ' => b'T', 'ᴜ' => b'U', 'ᴠ' => b'V', 'ᴡ' => b'W', 'ʏ' => b'Y', 'ᴢ' => b'Z',
        _ => return None,
    })
}

/// Alphabets and syllables that nobody takes for Latin, with those of their compatibility forms that hold no Latin letter: there is nothing to
/// look up for them.
pub(super) const fn is_far(c: char) -> bool {
    matches!(
        c,
        '\u{590}'..='\u{10FF}' | '\u{1100}'..='\u{139F}' | '\u{1400}'..='\u{1CFF}' | '\u{3040}'..='\u{31FF}' | '\u{3400}'..='\u{A4CF}' | '\u{A500}'..='\u{A63F}'
            | '\u{AC00}'..='\u{FAFF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFE}' | '\u{20000}'..='\u{3FFFF}'
    )
}

/// Characters that show nothing: Default_Ignorable_Code_Point of Unicode's `DerivedCoreProperties.txt`, and control characters that
/// are no white space.
pub(super) const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}' | '\u{E}'..='\u{1F}' | '\u{7F}'..='\u{84}' | '\u{86}'..='\u{9F}'
            | '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

#[cfg(test)]
mod tests;
