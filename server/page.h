/* page.h - the page at "/", as page/embed.cmake puts it into the program. */
#ifndef SPECD_SERVER_PAGE_H
#define SPECD_SERVER_PAGE_H

#include <stddef.h>

extern const unsigned char page_html[];
extern const size_t page_html_bytes;
extern const char page_policy[]; /* its Content-Security-Policy */

#endif
