/*
 * fuzz_folder.h - a model folder with one file in it, for targets whose input is that file.
 *
 * The folder lies in /tmp and is removed when the program ends. Included by one source of a target.
 */
#ifndef SPECD_TEST_FUZZ_FOLDER_H
#define SPECD_TEST_FUZZ_FOLDER_H

#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fuzz_folder[64], fuzz_path[96];

static void fuzz_folder_remove(void)
{
    unlink(fuzz_path);
    rmdir(fuzz_folder);
}

/* Returns the folder, in which a file of that name holds data. A new file each time: file systems
 * write one back at once when it was emptied and filled. */
static const char *fuzz_folder_save(const char *name, const uint8_t *data, size_t size)
{
    if (!fuzz_folder[0]) {
        strcpy(fuzz_folder, "/tmp/specd-fuzz-XXXXXX");
        ASSERT(mkdtemp(fuzz_folder));
        snprintf(fuzz_path, sizeof fuzz_path, "%s/%s", fuzz_folder, name);
        atexit(fuzz_folder_remove);
    }
    unlink(fuzz_path);
    FILE *f = fopen(fuzz_path, "wb");
    ASSERT(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
    return fuzz_folder;
}

#endif
