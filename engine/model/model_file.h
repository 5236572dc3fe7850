/*
 * model_file.h - opens a model from disk: tensors mapped read-only, sizes checked, vocabulary read.
 *
 * path is a GGUF file (v2 or v3) or a Hugging Face folder (config.json, *.safetensors,
 * tokenizer.json, tokenizer_config.json, generation_config.json). Everything that a file states
 * (offsets, counts, shapes, products) is checked before it is used. Any thread; blocking.
 */
#ifndef SPECD_MODEL_FILE_H
#define SPECD_MODEL_FILE_H

#include "model/hf_quant.h"
#include "model/vocab.h"
#include "specd/model.h"

struct model_file {
    struct model model; /* model.layers is owned by the file */
    struct vocab vocab;
    char *path;
    char name[128]; /* general.name, or the folder's or file's base name */
    uint64_t file_bytes;
    uint64_t fingerprint; /* of header and sizes: tells models apart in caches */
    struct mapping *maps; /* private */
    size_t n_maps;
    struct hf_sources sources; /* private: of tensors of a quantised folder */
};

/* SPECD_EFILE with one line naming file, field and reason. */
int model_file_open(struct model_file **out, const char *path, char *err, size_t errlen);
/* Once a device has the weights: gives the memory back that reading the files took. */
void model_file_rest(struct model_file *mf);
void model_file_close(struct model_file *mf);

#endif
