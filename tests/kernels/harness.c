/* Every verb of every vector kernel set that this build and this processor have, against plain loops in a wider type.
 *
 *     cc -O3 -Ifastbptt/kernels tests/kernels/harness.c fastbptt/kernels/dispatch.c fastbptt/kernels/sets/*.c -lm && ./a.out [SET [BITS]]
 *
 * One line for each set and real type: how much was compared, the largest errors relative to the sum of the magnitudes
 * that went in, and those of the elementary functions in units in the last place. Exits 1 with a line at the first
 * failure, or names the case that crashed. There is no Python in here, so that it runs where Python does not: under an
 * emulator, or whole under a sanitizer. What is checked stands in checks.h, once for both types.
 *
 * Every array lies in a block of its own, exactly as large as the verb may assume. Under AddressSanitizer that is all;
 * without it, the block lies between guards that are looked at afterwards. They hold signalling NaN: what is read there
 * shows in the result, and what is added there makes it a quiet one. Blocks are filled with it too before they are
 * written, so that it stands in the paddings of rows. With -DFASTBPTT_MEMCHECK there are neither guards nor filling,
 * for valgrind to see what is read before it is written; and no long double, which valgrind rounds to double.
 */
#include "kernels.h"
#include "defs/tables.h"

#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FASTBPTT_MEMCHECK
#define GUARD 0
#elif defined(__SANITIZE_ADDRESS__)
#define GUARD 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GUARD 0
#endif
#endif
#ifndef GUARD
#define GUARD 128 /* bytes: two of the widest vectors */
#endif
#if !GUARD && !defined(FASTBPTT_MEMCHECK)
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FASTBPTT_MEMCHECK
#define FILLED 0
#else
#define FILLED 1
#endif
#define MOST_BLOCKS 24
#define LENGTH(a) ((ptrdiff_t)(sizeof(a) / sizeof(a)[0]))

/* ---- What is reported */

enum { PRODUCTS, RECURRENCES, ERRORS, SUMS, UPDATES, KINDS };

static const char *const kinds[] = {"products", "recurrences", "errors", "sums", "updates"};

static long checks;
static double worst[KINDS];
static char where[256]; /* the case that runs */

static void at(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(where, sizeof where, format, arguments);
    va_end(arguments);
}

static void fail(const char *format, ...)
{
    va_list arguments;
    printf("FAILED: %s: ", where);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    exit(1);
}

/* A crash, or the end of somebody's patience, says in which case it came; a sanitizer does so behind its report. */
static void stopped(void)
{
    fprintf(stderr, "STOPPED: %s\n", where);
}

#if GUARD || defined(FASTBPTT_MEMCHECK)
static void on_signal(int number)
{
    stopped();
    _Exit(128 + number);
}

static void say_where_it_stopped(void)
{
    static const int numbers[] = {SIGSEGV, SIGFPE, SIGILL, SIGABRT, SIGTERM};
    ptrdiff_t i;
    for (i = 0; i < LENGTH(numbers); i++)
        signal(numbers[i], on_signal);
}
#else
static void say_where_it_stopped(void)
{
    __sanitizer_set_death_callback(stopped);
}
#endif

/* ---- Blocks */

typedef struct {
    unsigned char *raw, *begin;
    size_t bytes, size; /* size: of a number */
    uint64_t digest;    /* 0: may be written */
} block;

static block blocks[MOST_BLOCKS];
static int block_count;

static const void *guard(size_t size)
{
    static const uint32_t of_32 = 0x7fa00001u;
    static const uint64_t of_64 = 0x7ff4000000000001u;
    return size == 4 ? (const void *)&of_32 : (const void *)&of_64;
}

/* Where there are guards, the block begins at an odd multiple of a number's size. */
static void *new_block(ptrdiff_t n, size_t size)
{
    const size_t before = GUARD ? GUARD + size : 0;
    size_t i;
    block *b = &blocks[block_count];
    if (block_count++ == MOST_BLOCKS)
        fail("too many blocks");
    b->bytes = (size_t)n * size;
    b->size = size;
    b->raw = malloc(before + b->bytes + GUARD);
    if (b->raw == NULL)
        fail("no memory");
    for (i = 0; FILLED && i < before + b->bytes + GUARD; i += size)
        memcpy(b->raw + i, guard(size), size);
    b->begin = b->raw + before;
    b->digest = 0;
    return b->begin;
}

static uint64_t digest(const block *b)
{
    uint64_t d = 14695981039346656037u;
    uint32_t word;
    size_t i;
    for (i = 0; i < b->bytes; i += 4) {
        memcpy(&word, b->begin + i, 4);
        d = (d ^ word) * 1099511628211u;
    }
    return d | 1;
}

/* From here on no block that is there may change; what a verb writes is made afterwards. */
static void seal(void)
{
    int i;
    for (i = 0; FILLED && i < block_count; i++)
        blocks[i].digest = digest(&blocks[i]);
}

/* Free all blocks but the first `keep`, having looked at their guards and at whether sealed ones are unchanged. */
static void release(int keep)
{
    while (block_count > keep) {
        const block *b = &blocks[--block_count];
        const unsigned char *end = b->begin + b->bytes, *p;
        for (p = b->raw; p < b->begin; p += b->size)
            if (memcmp(p, guard(b->size), b->size) != 0)
                fail("written %d bytes before an array of %d", (int)(b->begin - p), (int)b->bytes);
        for (p = end; p < end + GUARD; p += b->size)
            if (memcmp(p, guard(b->size), b->size) != 0)
                fail("written %d bytes after an array of %d", (int)(p - end), (int)b->bytes);
        if (b->digest != 0 && b->digest != digest(b))
            fail("an input of %d bytes was changed", (int)b->bytes);
        free(b->raw);
        checks++;
    }
}

/* ---- Numbers, the same ones in every run (Marsaglia 2003) */

static uint64_t state = 88172645463325252u;

static double uniform(double low, double high)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return low + (high - low) * ((double)(state >> 11) * 0x1p-53);
}

static ptrdiff_t below(ptrdiff_t n)
{
    return (ptrdiff_t)uniform(0, (double)n);
}

/* ---- Sizes: every tile and tail of every set, and those beside a multiple of the widest panel */

static const ptrdiff_t widths[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17,
                                   18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34,
                                   35, 36, 37, 38, 39, 40, 47, 48, 49, 63, 64, 65, 100, 130};
#define MOST_ROWS 17

static const char *const losses_named[] = {
#define LOSS(CONSTANT, name, outputs, number) #name,
#define ROW_LOSS(CONSTANT, name, outputs) #name,
#include "defs/losses.def"
    "given"};

/* The hidden activation that comes i-th, from 0 on and around */
static int hidden_activation(ptrdiff_t i)
{
    int activation = -1;
    while (i >= 0) {
        activation = (activation + 1) % FASTBPTT_ACTIVATION_COUNT;
        i -= (fastbptt_activations[activation].layers & FASTBPTT_HIDDEN) != 0;
    }
    return activation;
}

/* ---- Cells of several gates. The slots of `saves` and of delta are those of simd/gated.h. */

static const struct fastbptt_cell_row *cell_of(int form)
{
    return &fastbptt_cells[form];
}

/* The slot of a gate's product with W_x: if a product is APART, the last gate comes first */
static ptrdiff_t slot_of(int form, ptrdiff_t gate)
{
    return (gate + cell_of(form)->slots - cell_of(form)->gates) % cell_of(form)->gates;
}

#ifdef __GNUC__
#pragma GCC diagnostic error "-Wswitch" /* a row of a table whose expected value is not written in checks.h does not compile */
#endif

/* Labels of a switch over forms. They stand in one place, so that -Wswitch asks for a new cell's formulas in each switch. */
#define CELLS_OF_ONE_GATE \
    FASTBPTT_PLAIN: case FASTBPTT_RATE: case FASTBPTT_CURRENT: case FASTBPTT_PLAIN_INPUT: case FASTBPTT_CURRENT_INPUT

static const char *set; /* the one that is checked */

#include "bounds.h"

#ifdef FASTBPTT_MEMCHECK
#define ZERO_SIGNS 0 /* valgrind 3.19 makes 0 of 1 * -0 + -0 where the two are fused */
#else
#define ZERO_SIGNS 1
#endif

#define JOIN_(a, b) a##_f##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(x) JOIN(x, BITS)

#define BITS 32
#include "checks.h"
#undef BITS
#define BITS 64
#include "checks.h"

int main(int argc, char **argv)
{
    static const char *const names[] = {"baseline", "avx2", "avx512"};
    const char *only = argc > 1 ? argv[1] : "";
    const int bits = argc > 2 ? atoi(argv[2]) : 0;
    const fastbptt_kernels *kernels, *best = NULL;
    ptrdiff_t i;
    say_where_it_stopped();
    for (i = 0; i < LENGTH(names); i++) {
        kernels = fastbptt_vector_kernels(names[i]);
        if (kernels == NULL) {
            printf("%-8s not in this build or not for this processor\n", names[i]);
            continue;
        }
        at("%s", names[i]);
        if (strcmp(kernels->name, names[i]) != 0)
            fail("calls itself %s", kernels->name);
        best = kernels;
        set = kernels->name;
        if (*only && strcmp(only, set) != 0)
            continue;
        if (bits != 64)
            check_f32(&kernels->f32, kernels->pad_f32);
        if (bits != 32)
            check_f64(&kernels->f64, kernels->pad_f64);
    }
    at("all sets");
    if (best == NULL)
        fail("there is none");
    if (*only && fastbptt_vector_kernels(only) == NULL)
        fail("there is no %s here", only);
    if (fastbptt_vector_kernels(NULL) != best || fastbptt_vector_kernels("") != NULL)
        fail("the best one is not taken without a name, or there is one without a name");
    return 0;
}
