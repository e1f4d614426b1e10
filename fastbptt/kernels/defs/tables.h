/* The tables of activations, losses, update rules and cells as arrays, for the names in Python, the checks of the C interface
 * and the sizes that kernels of cells need.
 *
 * The .def files contain the rows. A new column of a table becomes a member here.
 */
#ifndef FASTBPTT_TABLES_H
#define FASTBPTT_TABLES_H

#include "../kernels.h"

enum fastbptt_layers { FASTBPTT_HIDDEN = 1, FASTBPTT_OUTPUT = 2, FASTBPTT_BOTH = 3 };
enum fastbptt_product { FASTBPTT_SUMMED, FASTBPTT_APART, FASTBPTT_GATED };
enum fastbptt_state { FASTBPTT_FIRST, FASTBPTT_SECOND, FASTBPTT_BOTH_CARRIES };
enum fastbptt_number { FASTBPTT_NONE, FASTBPTT_THRESHOLD, FASTBPTT_LEVEL };

/* Indexed by the constants of kernels.h */
static const struct fastbptt_activation_row {
    const char *name;
    int layers; /* sum of HIDDEN and OUTPUT */
    int reads;
} fastbptt_activations[] = {
#define ACTIVATION(CONSTANT, name, layers, reads) {#name, FASTBPTT_##layers, FASTBPTT_##reads},
#define ROW_ACTIVATION(CONSTANT, name) {#name, FASTBPTT_OUTPUT, FASTBPTT_VALUE},
#include "activations.def"
};

static const struct fastbptt_loss_row {
    const char *name;
    int outputs; /* the output activation that it requires, or FASTBPTT_ANY */
    int number;
} fastbptt_losses[] = {
#define LOSS(CONSTANT, name, outputs, number) {#name, FASTBPTT_##outputs, FASTBPTT_##number},
#define ROW_LOSS(CONSTANT, name, outputs) {#name, FASTBPTT_##outputs, FASTBPTT_NONE},
#include "losses.def"
};

static const struct fastbptt_rule_row {
    const char *name;
    int slots;
} fastbptt_rules[] = {
#define RULE(CONSTANT, name, slots) {#name, slots},
#include "rules.def"
};

static const struct fastbptt_cell_row {
    const char *name;
    ptrdiff_t gates, carries, saves;
    int direct, product, state;
    ptrdiff_t slots; /* blocks of H numbers in a row of delta */
} fastbptt_cells[] = {
#define FASTBPTT_STATE_FIRST FASTBPTT_FIRST
#define FASTBPTT_STATE_SECOND FASTBPTT_SECOND
#define FASTBPTT_STATE_BOTH FASTBPTT_BOTH_CARRIES
#define CELL(CONSTANT, name, cell, gates, carries, saves, direct, product, state) \
    {#name, gates, carries, saves, direct, FASTBPTT_##product, FASTBPTT_STATE_##state, \
     gates + (FASTBPTT_##product == FASTBPTT_APART)},
#include "cells.def"
};

enum {
    FASTBPTT_CELL_COUNT = sizeof fastbptt_cells / sizeof *fastbptt_cells,
    FASTBPTT_ACTIVATION_COUNT = sizeof fastbptt_activations / sizeof *fastbptt_activations,
    FASTBPTT_LOSS_COUNT = sizeof fastbptt_losses / sizeof *fastbptt_losses,
    FASTBPTT_RULE_COUNT = sizeof fastbptt_rules / sizeof *fastbptt_rules
};

/* Refuse to compile, by a negative array size, what kernels do not support: output activations whose slope reads the
 * pre-activation, because `error` writes Y in the place of Z, rules with more than two slots, and gated cells that save fewer
 * numbers than they have slots, because `saves` first holds the pre-activations. */
#define CELL(CONSTANT, ...)
#define GATED_CELL(CONSTANT, name, cell, gates, carries, saves, direct, product, state) \
    typedef char fastbptt_saves_of_##name##_do_not_hold_its_slots \
        [saves >= gates + (FASTBPTT_##product == FASTBPTT_APART) && gates > 1 && direct ? 1 : -1];
#include "cells.def"
#define ACTIVATION(CONSTANT, name, layers, reads) \
    typedef char fastbptt_pre_activation_of_output_##name##_is_not_kept \
        [FASTBPTT_##reads == FASTBPTT_VALUE || FASTBPTT_##layers == FASTBPTT_HIDDEN ? 1 : -1];
#include "activations.def"
#define RULE(CONSTANT, name, slots) typedef char fastbptt_slots_of_##name##_are_not_1_or_2[(slots) == 1 || (slots) == 2 ? 1 : -1];
#include "rules.def"

#endif
