// As much JSON as the protocol and the header of a safetensors file need: a strict parser, and quoting of strings.
#pragma once

#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "errors.hpp"

namespace port::json {

struct Value;
struct Member;
using Array = std::vector<Value>;
using Object = std::vector<Member>;

struct Value {
    std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> data;

    template <typename Type>
    const Type* as() const {
        return std::get_if<Type>(&data);
    }
};

struct Member {
    std::string name;
    Value value;
};

// The member of that name, or null when there is none or `value` is not an object.
inline const Value* find(const Value& value, const std::string& name) {
    if (const auto* object = value.as<Object>()) {
        for (const Member& member : *object) {
            if (member.name == name) return &member.value;
        }
    }
    return nullptr;
}

// The member of that name in the type asked for; anything else is an error.
template <typename Type>
const Type& get(const Value& value, const std::string& name) {
    const Value* member = find(value, name);
    const Type* content = member == nullptr ? nullptr : member->as<Type>();
    if (content == nullptr) throw Error("JSON: '" + name + "' is missing or of the wrong type");
    return *content;
}

// A string with its quotes, as it stands in JSON.
inline std::string quote(const std::string& text) {
    static const char* digits = "0123456789abcdef";
    std::string quoted = "\"";
    for (const char character : text) {
        const auto byte = static_cast<unsigned char>(character);
        if (byte < 0x20) {
            quoted += std::string("\\u00") + digits[byte >> 4] + digits[byte & 15];
        } else {
            if (character == '"' || character == '\\') quoted += '\\';
            quoted += character;
        }
    }
    return quoted + '"';
}

class Parser {
public:
    explicit Parser(const std::string& text) : text_(text) {}

    Value document() {
        Value result = value(0);
        skip_space();
        if (at_ != text_.size()) fail("something follows the value");
        return result;
    }

private:
    static constexpr int deepest = 32;

    [[noreturn]] void fail(const std::string& what) const {
        throw Error("JSON, byte " + std::to_string(at_) + ": " + what);
    }

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    char next() {
        if (at_ == text_.size()) fail("the text ends too early");
        return text_[at_++];
    }

    void skip_space() {
        while (at_ < text_.size() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
    }

    bool accept(char character) {
        skip_space();
        if (at_ == text_.size() || peek() != character) return false;
        ++at_;
        return true;
    }

    void expect(char character) {
        if (!accept(character)) fail(std::string("expected '") + character + "'");
    }

    Value value(int depth) {
        if (depth > deepest) fail("nested too deeply");
        skip_space();
        switch (peek()) {
            case '{': return object(depth);
            case '[': return array(depth);
            case '"': return {string()};
            case 't': return word("true", {true});
            case 'f': return word("false", {false});
            case 'n': return word("null", {nullptr});
            default: return number();
        }
    }

    Value word(const std::string& name, Value meaning) {
        if (text_.compare(at_, name.size(), name) != 0) fail("unknown word");
        at_ += name.size();
        return meaning;
    }

    Value object(int depth) {
        Value result{Object{}};
        auto& members = std::get<Object>(result.data);
        expect('{');
        if (accept('}')) return result;
        do {
            skip_space();
            std::string name = string();
            if (find(result, name) != nullptr) fail("the name '" + name + "' stands twice");
            expect(':');
            members.push_back({std::move(name), value(depth + 1)});
        } while (accept(','));
        expect('}');
        return result;
    }

    Value array(int depth) {
        Array elements;
        expect('[');
        if (accept(']')) return {elements};
        do {
            elements.push_back(value(depth + 1));
        } while (accept(','));
        expect(']');
        return {elements};
    }

    std::size_t digits() {
        const std::size_t start = at_;
        while (peek() >= '0' && peek() <= '9') ++at_;
        if (at_ == start) fail("expected a value");
        return at_ - start;
    }

    Value number() {
        const std::size_t start = at_;
        if (peek() == '-') ++at_;
        const bool zero_first = peek() == '0';
        if (digits() > 1 && zero_first) fail("a number begins with 0");
        const std::size_t integer_end = at_;
        if (peek() == '.') {
            ++at_;
            digits();
        }
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            digits();
        }
        const std::string token = text_.substr(start, at_ - start);
        errno = 0;
        if (at_ == integer_end) {
            const long long whole = std::strtoll(token.c_str(), nullptr, 10);
            if (errno == ERANGE) fail("an integer of more than 64 bits");
            return {static_cast<std::int64_t>(whole)};
        }
        const double real = std::strtod(token.c_str(), nullptr);
        if (!std::isfinite(real)) fail("a number that is too large");
        return {real};
    }

    std::string string() {
        expect('"');
        std::string result;
        for (char character = next(); character != '"'; character = next()) {
            const auto byte = static_cast<unsigned char>(character);
            if (byte < 0x20) fail("a control character in a string");
            if (character == '\\') {
                escape(result);
            } else if (byte < 0x80) {
                result += character;
            } else {
                --at_;
                result += utf8_sequence();
            }
        }
        return result;
    }

    void escape(std::string& result) {
        static const std::string letters = "\"\\/bfnrt";
        static const std::string meanings = "\"\\/\b\f\n\r\t";
        const char letter = next();
        const std::size_t place = letters.find(letter);
        if (place != std::string::npos) {
            result += meanings[place];
        } else if (letter == 'u') {
            append_utf8(result, escaped_code_point());
        } else {
            fail("unknown escape");
        }
    }

    unsigned long four_hex_digits() {
        unsigned long code = 0;
        for (int i = 0; i < 4; ++i) {
            const char digit = next();
            const std::size_t value = std::string("0123456789abcdef0123456789ABCDEF").find(digit);
            if (value == std::string::npos) fail("expected four hexadecimal digits");
            code = code * 16 + static_cast<unsigned long>(value % 16);
        }
        return code;
    }

    unsigned long escaped_code_point() {
        const unsigned long code = four_hex_digits();
        if (code < 0xD800 || code > 0xDFFF) return code;
        if (code > 0xDBFF || next() != '\\' || next() != 'u') fail("half of a surrogate pair");
        const unsigned long low = four_hex_digits();
        if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair");
        return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }

    static void append_utf8(std::string& result, unsigned long code) {
        const auto append = [&result](unsigned long byte) { result += static_cast<char>(byte); };
        if (code < 0x80) {
            append(code);
        } else if (code < 0x800) {
            append(0xC0 | code >> 6);
            append(0x80 | (code & 0x3F));
        } else if (code < 0x10000) {
            append(0xE0 | code >> 12);
            append(0x80 | (code >> 6 & 0x3F));
            append(0x80 | (code & 0x3F));
        } else {
            append(0xF0 | code >> 18);
            append(0x80 | (code >> 12 & 0x3F));
            append(0x80 | (code >> 6 & 0x3F));
            append(0x80 | (code & 0x3F));
        }
    }

    // One character beyond ASCII, checked: what this program prints back must be UTF-8 too.
    std::string utf8_sequence() {
        const std::size_t start = at_;
        const auto lead = static_cast<unsigned char>(next());
        const int following = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4) fail("not UTF-8");
        unsigned long code = lead & (0x3Fu >> following);
        for (int i = 0; i < following; ++i) {
            const auto byte = static_cast<unsigned char>(next());
            if ((byte & 0xC0) != 0x80) fail("not UTF-8");
            code = code << 6 | (byte & 0x3F);
        }
        std::string again;
        append_utf8(again, code);
        const std::string sequence = text_.substr(start, at_ - start);
        if (again != sequence || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) fail("not UTF-8");
        return sequence;
    }

    const std::string& text_;
    std::size_t at_ = 0;
};

inline Value parse(const std::string& text) { return Parser(text).document(); }

}  // namespace port::json
