# Makes the page's C source: cmake -DHTML=index.html -DOUT=page_data.c -P embed.cmake
#
# page_html is the file; page_policy its Content-Security-Policy, which lets exactly the file's own
# <script> and <style> run, by the SHA-256 of their text, and nothing else.

# The 64 hexadecimal digits of a SHA-256 in base64: three digits make two letters.
function(base64_of_sha256 hex out)
  set(letters "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  set(text "")
  string(APPEND hex "00") # 256 bits and 8 of padding are 22 times 12
  foreach(at RANGE 0 63 3)
    string(SUBSTRING "${hex}" ${at} 3 digits)
    math(EXPR high "0x${digits} >> 6")
    math(EXPR low "0x${digits} & 63")
    string(SUBSTRING "${letters}" ${high} 1 first)
    string(SUBSTRING "${letters}" ${low} 1 second)
    string(APPEND text "${first}${second}")
  endforeach()
  string(SUBSTRING "${text}" 0 43 text)
  set(${out} "sha256-${text}=" PARENT_SCOPE)
endfunction()

function(hash_of_element html tag out)
  string(FIND "${html}" "<${tag}>" begin)
  string(FIND "${html}" "</${tag}>" end)
  string(LENGTH "<${tag}>" skip)
  if(begin EQUAL -1 OR end LESS begin)
    message(FATAL_ERROR "${HTML} has no <${tag}>")
  endif()
  math(EXPR begin "${begin} + ${skip}")
  math(EXPR length "${end} - ${begin}")
  string(SUBSTRING "${html}" ${begin} ${length} content)
  string(SHA256 hex "${content}")
  base64_of_sha256(${hex} hash)
  set(${out} ${hash} PARENT_SCOPE)
endfunction()

file(READ ${HTML} html)
hash_of_element("${html}" script script)
hash_of_element("${html}" style style)
string(CONCAT policy "default-src 'none'; script-src '${script}'; style-src '${style}'; "
  "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")

file(READ ${HTML} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)"
  "\\1\n    " bytes "${bytes}")
file(WRITE ${OUT} "/* Made by embed.cmake from index.html. */
#include \"http.h\"

const unsigned char page_html[] = {
    ${bytes}
};
const size_t page_html_bytes = ${size};
const char page_policy[] =
    \"${policy}\";
")
