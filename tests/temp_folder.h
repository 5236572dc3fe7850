/*
 * temp_folder.h - a folder in /tmp for the files of a test program, as a fixture of its group.
 * Included once per program, after cmocka.h.
 */
#ifndef SPECD_TEST_TEMP_FOLDER_H
#define SPECD_TEST_TEMP_FOLDER_H

#include <stdio.h>
#include <stdlib.h>

static char folder[] = "/tmp/specd-test-XXXXXX";

static inline int folder_make(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static inline int folder_remove(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* Of a file in it; good until the next call. */
static inline const char *path_of(const char *name)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static inline void save_text(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

#endif
