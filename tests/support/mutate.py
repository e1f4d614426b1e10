"""Break every statement of both backward paths, one at a time, and see whether a test notices.

    python tests/support/mutate.py [--reference] [--core] [--list] [-k PATTERN] [--jobs N]

A mutant is one statement with one fault: a sign, an index, a transposition, a dropped term, swapped arguments, a wrong
constant, a turned comparison. Each must be killed by a test, whose name is printed, or stand in EQUIVALENT with the
reason why no test can see it. The exit status is 1 if a mutant survives that is not listed, or if a statement has no
mutant at all; a listed one that is killed all the same, or no longer exists, is named as such. Needs what a build needs,
and pytest.

Design
------
(a) Everything happens in a temporary copy of the source tree; the tree that this file lies in is only read.
(b) Mutants are made by rule from the syntax tree of a statement (`variants`). Cython's statements pass for Python's
    once casts and addresses are written as runs of `~`, an operator that neither path uses (`encode`).
(c) The core is compiled once for all its mutants: each statement becomes a choice by a global integer, `if mutant ==
    17: ... else: ...`. What does not compile is taken out and counted.
(d) In that build rows are padded to 4 numbers, so that a leading dimension taken for a width shows: the set `blas` by
    itself pads nothing, but the order of verbs is written for sets that do.
(e) pytest collects once. Each mutant runs in a fork of that process, which switches it on and runs the likely tests
    first (`LIKELY`); what survives meets every test, or every quick one where it is listed. A crash or a hang ends the
    fork alone; the tests after the one that crashed are then tried, as a failed assertion says more.
"""

from __future__ import annotations

import argparse
import ast
import copy
import fnmatch
import io
import os
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

STALLED = 20  # seconds in one test after which a mutant counts as hanging; the slowest test takes about three
TEST_FILES = ("test_backward.py", "test_mutants.py", "test_reference.py", "test_reference_sequences.py", "test_core.py",
              "test_shards.py", "test_kinds.py", "test_truncation.py", "test_memory.py", "test_stream.py", "test_inputs.py",
              "test_penalties.py", "test_maps.py", "test_diagnostics.py", "test_stack.py", "test_embed.py",
              "test_rates_and_omega.py", "test_leaky.py", "test_denormals.py", "test_gates.py", "test_unit_leaks.py",
              "test_low_rank.py")
QUICK = 0.03  # seconds: of the tests, those that mutants listed as equivalent meet, beside the likely ones
OF_INPUTS = re.compile("test_(?!inputs)|weight|label")  # what of test_inputs.py has to do with gradients

# ---------------------------------------------------------------------------------------------------------------------
# What is mutated: file, function, and where only a part of it belongs to the backward path, the lines from ... to
# ---------------------------------------------------------------------------------------------------------------------

REFERENCE_FUNCTIONS = ("effective", "pulled_back", "_map", "_pull_back", "_d_huber", "_d_quantile", "only", "restart",
                       "recur_back", "windows", "recur_back_windows", "turn", "recurrences", "_recurrence", "_read",
                       "_read_back", "read", "read_back", "error", "accumulate",
                       "column_sums", "affine", "loss_and_gradients", "_loss_and_gradients", "flows", "mean_square_rate",
                       "_mean_square_rate", "spread", "d_spread", "_relative", "_length", "settled", "product_settled",
                       "recur_back_settled", "_softmax_back_settled", "_sizes", "_normal", "penalty", "d_penalty",
                       "backward", "_backward",
                       "gradient_terms", "gradient_flow", "_flow_back", "_norm", "next_state", "jacobian", "_step", "_inputs",
                       "_plain_to_delta", "_plain_to_before", "_one_gate_to_weights", "_rate_to_delta", "_rate_to_before",
                       "_current_to_delta", "_current_to_before", "_leaked", "_slope",
                       "_gru_to_delta", "_gru_products", "_gru_to_before", "_gru_to_weights",
                       "_gru_before_to_delta", "_gru_before_to_before", "_gru_before_to_weights",
                       "_lstm_read_back", "_lstm_of_c", "_lstm_to_delta", "_lstm_to_before",
                       "_forward_and_error", "_in_time", "_per_output", "_scale")
REFERENCE_TABLES = ("ACTIVATIONS", "OUTPUT_ACTIVATIONS", "LOSSES")  # the second of each pair

# The files of each group below, from the package's folder on. The first is where the group's switch stands.
CORE_FILES = {"core": ("_core.pyx", "engine/*.pxi"), "blas": ("kernels/blas.pyx",)}

CORE_FUNCTIONS = {
    "core": {
        **dict.fromkeys(("count", "sequences_of_shard", "sequences_before_shard", "pack_sequences", "number_rows",
                         "rows_before", "rows_at", "end_of_block", "caller_step", "is_reset", "any_reset", "find_row_index",
                         "pack_weights", "make_input_table", "read", "write", "look_up", "add_by_id", "find_error_rows",
                         "own_states", "apply_resets", "recur_through", "cut_at_resets", "recur_back_through")),
        **dict.fromkeys(("place", "add_rows", "forward", "forward_through", "mark_border", "write_last_states", "backward",
                         "blocks_until", "backward_again", "backward_through", "readout_back", "all_ones")),
        "add_rates": None,
        "sum_of_squares": None,
        "add_omega_rows": None,
        "add_omega": None,
        "find_states_before": None,
        "number_blocks": None,
        "read_precomputed": None,
        "terms": None,
        "flow": None,
        "flow_back": None,
        "norm_of": None,
        "make_shard": None,
        "gather_labels": None,
        "run_shard": None,
        "fill": None,
        "first_row": None,
        "run": None,
        "pull_back_terms": None,
        "penalize": None,
        "sum_of_weights": None,
        "count_nonzero": None,
        **dict.fromkeys(("prepare_weights", "sum_weights", "scale_of", "multiply", "undo_scale", "is_noise", "drop_noise_rows",
                         "find_norms", "find_old_start", "add_to_old_start")),
        **dict.fromkeys(("find_effective", "multiply_factors", "add_factor_gradients", "leaky_backward", "gated_backward",
                         "back", "find_start_gradient", "add_start_gradient", "add_in_double", "find_leaks",
                         "read_current_before", "find_currents_before", "add_leak_sums", "add_gate_gradients",
                         "add_recurrent_gradient", "add_input_gradient", "add_biases")),
        "lengths_in_range": None,
        "labels_in_range": None,
        "ids_in_range": None,
        "Engine.gradient_terms": ("if c.D != NULL and not c.last:", None),
        "EngineArguments.take_targets": None,
        "EngineArguments.point_at_targets": ("if weights is not None:", None),
        "EngineArguments.in_range": None,
        "EngineArguments.take_weights": None,
        "EngineArguments.take_penalties": None,
        "EngineCalls.gradients": None,
    },
    "blas": dict.fromkeys(("product", "pack", "affine", "accumulate", "column_sums", "gather", "scatter", "recur_back",
                           "integrate_back", "gru_step_back", "gru_before_step_back", "lstm_step_back", "gate_back",
                           "softmax_row", "softmax", "row", "error")),
}

MAPS = ["of_the_definition", "by_theta_is", "terms_sum", "is_the_reference_in_every", "mapped_network"]

# (pattern of the place, pattern of the statement, fragments of test names, the likeliest first). All that match count, in
# this order.
LIKELY = [
    ("core:*", "*c.has_saved*", ["may_overwrite_the_initial", "bit_by_bit", "several_shards_and_many_blocks"]),
    ("core:*", "*c.external*", ["several_shards_and_many_blocks"]),
    ("core:*", "*shared.saved*", ["several_shards_and_many_blocks"]),
    ("core:*", "*c.polls*", ["no_signal_is_handled"]),
    ("core:backward", "*memset*", ["_shape[no step"]),
    ("core:backward", "*delta_next == NULL*", ["_shape[no step"]),
    ("core:backward", "*else -1*", ["_shape[no step"]),
    ("*:sum_of_weights", "if*", ["bad_weight"]),
    ("core:forward", "*c.Y*", ["every_operation_for_every_shape", "outputs"]),
    ("core:*ward*", "*t [/*-]*", ["across_blocks", "move_on_with_the_blocks"]),
    ("core:*", "*past*", ["fit_is_the_definition"]),
    ("core:*", "*k1*", ["reference_s", "windows_of_several_blocks"]),
    ("core:*", "*segment*", ["where_a_segment_does", "every_limit"]),
    ("core:mark_border", "*", ["where_a_segment_does", "every_limit"]),
    ("core:backward_again", "*", ["where_a_segment_does", "every_limit"]),
    ("core:*ward_through", "*again*", ["where_a_segment_does", "every_limit"]),
    ("core:add_rows", "*", ["reference_s"]),
    ("core:blocks_until", "*", ["reference_s", "windows_of_several_blocks", "many_blocks"]),
    ("core:readout_back", "*", ["reference_s", "windows_of_several_blocks", "random_kinds"]),
    ("core:*ward*", "*end_of_block*", ["many_blocks", "across_blocks", "move_on_with_the_blocks"]),
    ("core:*ward*", "*begins*", ["many_blocks"]),
    ("core:*ward*", "*one_hot*", ["kind_of_sequences[True"]),
    ("core:*ward*", "*packed*", ["kind_of_sequences"]),
    ("core:*ward*", "*sparse*", ["kind_of_sequences", "random_kinds", "many_blocks"]),
    ("core:lengths_in_range", "*", ["refused_in_words"]),
    ("core:ids_in_range", "*", ["an_id_of_no_input", "kind_of_sequences[True"]),
    ("core:labels_in_range", "*", ["label", "padding_is_not_read"]),
    ("core:fill", "*", ["empty_call", "kind_of_sequences"]),
    ("core:first_row", "*", ["empty_call", "kind_of_sequences"]),
    *((f"core:{name}", "*", ["kind_of_sequences", "random_kinds", "many_blocks", "divided"]) for name in (
        "count*", "sequences_*", "pack_sequences", "number_rows", "rows_*", "end_of_block", "*_reset", "find_*", "read",
        "write", "own_states", "apply_resets", "recur_*through", "cut_at_resets", "write_last_states", "prepare_weights",
        "sum_weights", "make_input_table", "look_up", "add_by_id")),
    *((f"core:{name}", "*", ["near_the_limits", "power_of_two", "normal_number"]) for name in (
        "prepare_weights", "scale_of", "multiply", "undo_scale")),
    *((f"*:{name}", "*", ["gradient_do_not_count", "cancel_do_not_count"]) for name in (
        "is_noise", "drop_noise_rows", "find_norms", "*settled", "_sizes")),
    *((f"core:{name}", "*", ["leaky_units_is_the_definition"]) for name in ("find_old_start", "add_to_old_start")),
    *((f"*:{name}", "*", MAPS) for name in ("effective", "pulled_back", "_map", "_pull_back", "pull_back_terms")),
    ("*", "*maps*", MAPS),
    *((f"*:{name}", "*", ["the_core_is_the_reference", "rates_of_a_window", "bits_are_those", "complex_step_s", "by_jacobians"])
      for name in ("add_rates", "sum_of_squares", "spread", "add_omega*", "EngineArguments.take_penalties", "flows",
                   "*mean_square_rate", "d_spread", "_relative", "_length", "_loss_and_gradients")),
    ("*", "*spread*", ["the_core_is_the_reference", "bits_are_those"]),
    ("core:*", "*omega_*", ["the_core_is_the_reference", "bits_are_those"]),
    ("*", "*c.rates*", ["the_core_is_the_reference", "rates_of_a_window"]),
    ("*:penalize", "*", ["penalties"]),
    ("*penalty", "*", ["penalties"]),
    ("*shard", "*", ["shard"]),
    ("*:run", "*", ["shard"]),
    ("*:gather_labels", "*", ["label", "shard"]),
    ("*flow*", "*", ["core_follows", "norms_are_those", "one_sequence_weighted", "squares_of_extreme"]),
    ("*norm*", "*", ["core_follows", "norms_are_those", "squares_of_extreme"]),
    ("*:next_state", "*", ["jacobian", "fixed_points", "bistable"]),
    ("*:jacobian", "*", ["jacobian", "fixed_points", "bistable"]),
    ("*:Engine.gradient_terms", "*", ["terms_of_", "term_of_W_y", "terms_"]),
    ("*:terms", "*W_y*", ["term_of_W_y", "terms_of_S"]),
    ("*:terms", "*W_s*", ["terms_of_W_s", "terms_of_S"]),
    ("*:terms", "*W_x*", ["terms_of_W_x", "terms_of_S"]),
    ("*:*terms", "*", ["terms_of_S", "terms_of_W_s", "terms_of_W_x", "term_of_W_y", "terms_", "three_steps_worked"]),
    ("*:_scale", "*", ["divided", "neither_weighted_nor", "no_weight_at_all", "mean_is_the_sum"]),
    ("*:EngineArguments.in_range", "*", ["label"]),
    ("*:*_targets", "*", ["divided", "each_error_has_its_own_weight", "no_weight_at_all", "weights"]),
    ("*:sum_of_weights", "*", ["divided", "no_weight_at_all", "weights"]),
    ("*:differentiate", "*", ["derivative_of_the_activation", "carried_error_is_multiplied"]),
    ("*ACTIVATIONS*", "*R*", ["derivative_of_the_activation", "carried_error_is_multiplied"]),
    ("*OUTPUT_ACTIVATIONS*", "*", ["pull_back"]),
    ("*LOSSES*", "*", ["derivative_of_the_loss"]),
    ("*_d_*", "*", ["derivative_of_the_loss"]),
    ("*:slope", "*", ["derivative_of_the_loss", "pull_back"]),
    ("*_row", "*", ["derivative_of_the_loss", "each_error_has_its_own_weight", "weight_zero", "pull_back", "divided",
                    "test_every_operation"]),
    ("*:error", "*", ["derivative_of_the_loss", "each_error_has_its_own_weight", "weight_zero", "pull_back", "divided",
                      "losses_are_the_formula", "outputs_are_the_formula", "test_every_operation"]),
    ("*:_per_output", "*", ["each_error_has_its_own_weight"]),
    ("*:recur_back", "*", ["carried", "derivative_of_the_activation", "initial_state"]),
    ("*:affine", "*", ["error_reaches_the_state", "gradient_of_X"]),
    ("*:accumulate", "*", ["gradient_of_W_"]),
    ("*:column_sums", "*", ["gradient_of_b_", "learnt_S_0"]),
    ("*:product", "*", ["gradient_of_W_", "error_reaches", "large_products_of_one_row", "test_all_gradients",
                        "test_every_operation_for_every_shape"]),
    ("*:pack", "*", ["error_reaches_the_state", "gradient_of_X", "carried"]),
    ("*:gather", "*", ["gradient_of_W_x", "derivative_of_the_loss", "one_pass"]),
    ("*:scatter", "*", ["gradient_of_X", "terms_of_S"]),
    ("*:backward", "*dY*", ["error_of_ones_own"]),
    ("reference:backward", "*", ["of_ones_own", "test_backward_"]),
    *((f"reference:{name}", "*", ["complex_step", "one_recurrence_upon"]) for name in (
        "turn", "recurrences", "_recurrence", "_read", "_read_back")),
    ("core:*", "*precomputed*", ["core_is_the_reference_s", "across_blocks_of_time"]),
    ("core:*", "*reverse*", ["core_is_the_reference_s"]),
    ("core:*", "*p.reads*", ["core_is_the_reference_s"]),
    ("core:*", "*p.recurs*", ["core_is_the_reference_s"]),
    ("core:caller_step", "*", ["core_is_the_reference_s"]),
    ("core:number_blocks", "*", ["across_blocks_of_time"]),
    ("core:read_precomputed", "*", ["across_blocks_of_time", "core_is_the_reference_s"]),
    ("*:loss_and_gradients", "*", ["all_gradients", "divided"]),
    ("*", "*recur_back*", ["carried", "derivative_of_the_activation"]),
    ("*", "*initial_state*", ["gradient_of_the_initial_state", "where_a_state_is_given", "starts_from_by_itself"]),
    ("*", "*dS_0*", ["gradient_of_the_initial_state", "no_step"]),
    ("*", "*S_0*", ["learnt_S_0", "where_a_state_is_given"]),
    ("*", "*b_s*", ["gradient_of_b_s"]),
    ("*", "*b_y*", ["gradient_of_b_y"]),
    ("*", "*W_x*", ["gradient_of_W_x", "gradient_of_X"]),
    ("*", "*W_y*", ["gradient_of_W_y", "error_reaches"]),
    ("*", "*W_s*", ["gradient_of_W_s", "carried", "gradient_of_the_initial_state"]),
    ("*:pack_weights", "*", ["error_reaches_the_state", "gradient_of_X", "carried", "every_operation_for_every_shape"]),
    ("*", "*Q_y*", ["error_reaches"]),
    ("*", "*Q_s*", ["carried", "gradient_of_the_initial_state"]),
    ("*", "*Q_x*", ["gradient_of_X"]),
    ("*", "*dX*", ["gradient_of_X"]),
    ("*", "*[ (]X*", ["gradient_of_W_x", "gradient_of_X"]),
    ("*:backward*", "*", ["test_all_gradients", "across_blocks", "blocks", "large_shapes"]),
    ("*:run", "*", ["test_all_gradients", "terms_", "same_bits", "leaks"]),
    ("*:forward*", "*", ["gradient_of_W_y", "derivative_of_the_loss", "blocks", "large_shapes"]),
]

# (place, original, mutated) -> why no test can tell. Shell patterns.
EQUIVALENT = {
    ("reference:read_back", "dS = np.zeros((T + 1, *", "dS = np.zeros((T + 2, *"): "a row behind the last step, which nobody reads",
    ("reference:error", "D = np.where(m == 0, 0, D)*", "D = np.where(m == 0, 1, D)*"):
        "any number may stand for a target that is not read",
    ("reference:error", "if loss == 'cross_entropy' and D.ndim == Z.ndim - 1:", "if D.ndim == Z.ndim - 1:"):
        "only the D of cross_entropy may have that rank",
    ("reference:windows", "k1, k2 = (T + 1, T + 1) *", "k1, k2 = (T + 2, T + 1) *"): "one window, of all steps",
    ("reference:accumulate", "*reshape(-1,*", "*reshape(-2,*"): "NumPy takes any negative length for -1",
    ("reference:column_sums", "*reshape(-1,*", "*reshape(-2,*"): "NumPy takes any negative length for -1",
    ("reference:gradient_terms", "*np.ones(D.shape[[]:2])*", "*np.ones(D.shape[[]:4])*"):
        "a weight of one for every output is that of the step",
    ("core:*", "* theta + p.W_x, *", "* theta, *"): "p.W_x is 0",
    ("core:*", "* gradient + p.W_x, *", "* gradient, *"): "p.W_x is 0",
    ("core:*", "* p.maps + p.W_x, *", "* p.maps, *"): "p.W_x is 0",
    ("core:forward_through", "if t > 0 and stopped(c):", "if*stopped(c):"): "no number depends on how often a call polls",
    ("core:backward_through", "if delta_next != NULL and stopped(c):", "if delta_next == NULL and stopped(c):"):
        "no number depends on how often a call polls",
    ("core:backward_through", "if delta_next != NULL and stopped(c):", "if stopped(c):"): "likewise",
    ("core:*", "return STOPPED", "return DONE"):
        "the exception is set already, and comes out of the next call of Python's that the core makes",
    ("core:[bt]*", "return", "pass"): "what a call computes after it was stopped is thrown away",
    ("core:backward*", "if read_flag(c.stop):", "*"): "likewise",
    ("core:backward_through", "return False", "return True"): "likewise",
    ("core:backward_again", "if forward_through(*) != DONE:", "if forward_through(*) == STOPPED:"): "there is no third status",
    ("core:backward_through", "if end - t < c.most or c.precomputed or c.has_saved:", "if end - t <= c.most or*"):
        "a choice of speed alone",
    ("core:run_shard", "s.polls = *", "*"): "no number depends on who polls",
    ("core:run_shard", "if i > 0 and stopped(&s):", "if stopped(&s):"): "no number depends on how often a call polls",
    ("core:run_shard", "if i > 0 and stopped(&s):", "if i <= 0 and stopped(&s):"): "likewise",
    ("core:run_shard", "if s.polls:", "*"): "likewise",
    ("core:run_shard", "c.polled = s.polled", "*"): "likewise",
    ("core:run", "if threads == 1:", "*"): "a choice of speed alone",
    ("core:run_shard", "*shared.workspaces + thread [*]*", "*"):
        "a child of fork, as the runner of a mutant is, has one thread; tests/threads/test_threads.py would see it",
    ("core:run", "if read_flag(c.stop):", "*"): "the exception is set already",
    ("core:run", "*threadid()*", "*"): "a child of fork, as the runner of a mutant is, has one thread",
    ("core:run", "*chunksize=1*", "*chunksize=2*"): "a choice of speed alone",
    ("core:EngineArguments.take_weights", "return total", "return 2 * total"):
        "of gradients only its sign is asked; tests/training/test_training.py sees the means that it divides",
    ("core:sum_of_weights", "return*-1", "return*-2"): "any number below 0 says that a weight is wrong",
    ("blas:product", "cdef blas_int lda_ *", "lda_ = <blas_int> max(ak, ai)"): "the larger of two has no order",
    ("blas:product", "if m * n * k < LOOPS_BELOW:", "if * < LOOPS_BELOW:"): "a choice of speed alone",
    ("blas:product", "enter(&products, most_products)", "pass"):
        "how many are in BLAS changes no number; test_threads.py counts them, in processes of its own",
    ("blas:product", "add(&products, -1)", "add(&products, -2)"): "likewise",
    ("blas:slope", "e[[]0] = 0", "*"): "of a derivative that the user gives, nobody reads the error",
    ("blas:softmax*", "if z[[]o] > top or z[[]o] != z[[]o]:", "if z[[]o] > top:"):
        "a NaN comes out of exp and the sum in any case",
    ("blas:error", "return 0", "return 1"): "without targets nobody reads the sum",
    ("blas:error", "e = 0", "e = 1"): "losses row by row are asked for without weights alone",
    ("blas:error", "*labels[[]i] if labels != NULL else 0*", "*labels[[]i] if labels != NULL else 1*"):
        "where there are no labels the argument is not read",
    ("core:*", "if p.b_s >= 0:", "if p.b_y >= 0:"): "a network has both biases or none",
    ("core:pack_sequences", "cdef Py_ssize_t [*]next = batch_sizes + c.T + 1", "next = batch_sizes + c.T"):
        "of the two entries that are one then, neither is read",
    ("core:pack_sequences", "c.kept = 0", "*"): "memory is laid out for more rows than there are",
    ("core:end_of_block", "cdef Py_ssize_t end = t + 1", "end = t*"): "a step always fits into a block: the loop adds it",
    ("core:make_input_table", "memset*", "*"): "nobody reads what pads a row",
    ("core:write_last_states", "others = *", "others = rows_at(c, w, t + 2)"): "what is written too early is overwritten",
    ("core:count_nonzero", "nonzero += *", "*"): "whether rows with errors are picked is a choice of speed alone",
    ("core:sum_weights", "*nonzero*", "*"): "likewise",
    ("core:sum_weights", "n *", "*"): "likewise",
    ("core:forward_through", "cdef const floating [*]b_s*", "*p.b_y*"): "a network has both biases or none",
    ("core:forward_through", "cdef floating [*]losses*", "losses = <floating [*]> w.S *"):
        "the states before a block are not needed any more when its losses are written",
    ("core:forward_through", "cdef floating [*]losses*", "losses = <floating [*]> w.delta_y *"):
        "the loss of a row is written behind the rows that are still to be read",
    ("core:forward_through", "if c.segments > 0 and not again:", "if c.segments > 0:"):
        "none of the segments that are computed again is longer than it was",
    ("core:forward_through", "if c.S != NULL and not again:", "if c.S != NULL:"): "the same states a second time",
    ("core:forward_through", "if (targets or c.Y != NULL) and t >= c.past:", "if t >= c.past:"):
        "where there are neither targets nor outputs nobody reads what is computed",
    ("core:forward", "gather(k, 1, c.rows, *", "gather(k, 2, c.rows, *"):
        "the same rows a second time, into memory that is written before it is read",
    ("core:forward", "own_states(*, 1, *)", "own_states(*, 2, *)"): "likewise",
    ("core:forward_through", "if c.final_state != NULL and c.packed:", "if c.final_state != NULL:"):
        "in a call that is not packed no sequence ends before the others",
    ("core:backward", "cdef Py_ssize_t block = 0", "block = 1"): "where there is a step there is a block",
    ("core:find_error_rows", "has_error = False", "has_error = True"): "a choice of speed alone: the error without weight is 0",
    ("core:own_states", "gather(*, 0, 0, *)", "gather(k, rows, 1, *)"): "both distances are 0",
    ("core:own_states", "gather(k, 1, *)", "gather(k, 2, *)"):
        "the same rows a second time, into memory that is written before it is read",
    ("core:terms", "gather(k, 1, *, 0, *)", "gather(k, 2, *, 0, *)"):
        "the same rows a second time, into scratch that is written before it is read",
    ("core:terms", "cdef floating *D = <floating [*]> w.D *", "D = <floating [*]> w.delta *"):
        "D is not needed any more when delta is written",
}

# Statements that no rule can break: pattern of "place:line  statement" -> reason.
NO_MUTANT = {
    "core:shard:*  return s": "there is no other struct to return, and each of its fields has its mutants",
    "reference:recur_back_windows:*  for *": "what it runs over is a function of its own, which has its mutants",
    "reference:gradient_flow:*  for *": "its body has mutants, and what it runs over is the caller's",
    "reference:_backward:*  for *": "likewise",
    "reference:gradient_terms:*  raise *": "there is no other error to raise, and the condition before it has its mutants",
    "reference:_loss_and_gradients:*  raise *": "likewise",
    "core:find_row_index:*  return *": "there is no double of a pointer, and the conditions before it have their mutants",
    "core:cut_at_resets:*  return *": "likewise",
}


# ---------------------------------------------------------------------------------------------------------------------
# Mutants
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Mutant:
    place: str      # file:function
    line: int
    original: str
    mutated: str
    module: str = ""         # of the reference: the module's name, where in its tree, and
    path: tuple = ()
    node: ast.AST | None = None  # what stands there then
    number: int = 0          # of the core: the value of the switch
    outcome: str = ""
    reason: str = ""
    tests: list = field(default_factory=list)

    def __str__(self):
        """Return place, line, original and mutated code as one line."""
        return f"{self.place}:{self.line}  {self.original}  ->  {self.mutated}"


@dataclass
class Dialect:
    """Which names are pointers, which attributes stand for one another; `c` for Cython."""

    c: bool
    pointers: frozenset = frozenset()
    siblings: dict = field(default_factory=dict)


PYTHON = Dialect(c=False)

# What may be taken for one another: of equal rank, so that the wrong one is often of a legal size.
CONFUSED = {"W_x": "W_s", "W_s": "W_y", "W_y": "W_x", "b_s": "b_y", "b_y": "S_0", "S_0": "b_s"}
POINTER_ATTRIBUTES = {"maps", "labels", "terms_W_s", "terms_W_x", "terms_W_y", "gradient", "dS_0", "dX", "delta_next", "X", "D",
                      "S", "Y", "weights", "losses", "levels"}
UNARY = {"_abs", "_sign", "expm1", "fabs", "exp", "log", "log1p", "sigmoid"}
OPPOSITE = {ast.Gt: ast.LtE, ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
            ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
OF_A_KIND = 1  # changes of one kind to one statement: so many signs, left terms, right terms, swaps, constants ...


def is_pointer(node, dialect):
    """Return whether an expression is a pointer, as far as its names and casts tell, in C-like Cython (`dialect`)."""
    if isinstance(node, ast.Name):
        return node.id in dialect.pointers or node.id == "NULL"
    if isinstance(node, ast.Attribute):
        return dialect.c and node.attr in POINTER_ATTRIBUTES and isinstance(node.value, ast.Name)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return CASTS[cast_of(node)[0]].endswith(("*>", "&"))
    if isinstance(node, ast.BinOp):
        return is_pointer(node.left, dialect)
    if isinstance(node, ast.IfExp):
        return is_pointer(node.body, dialect) or is_pointer(node.orelse, dialect)
    return False


def variants(node, dialect):
    """Yield what may wrongly stand in place of one expression, `node`, in the language of the Dialect."""
    if isinstance(node, ast.BinOp):
        left, right = node.left, node.right
        if isinstance(node.op, (ast.Add, ast.Sub)):
            if is_pointer(left, dialect):
                yield left
                return
            yield ast.BinOp(left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), right)
            yield left
            if isinstance(node.op, ast.Add) and not isinstance(right, ast.Constant):
                yield right
        elif isinstance(node.op, ast.Mult):
            yield left
            yield right
        elif isinstance(node.op, ast.Div):
            yield ast.BinOp(left, ast.Mult(), right)
            yield left
        elif isinstance(node.op, ast.Mod):
            yield ast.BinOp(left, ast.FloorDiv(), right)
        elif isinstance(node.op, ast.FloorDiv):
            yield ast.BinOp(left, ast.Mod(), right)
        elif isinstance(node.op, ast.Pow):
            yield left
        elif isinstance(node.op, ast.MatMult):
            yield ast.BinOp(left, ast.MatMult(), ast.Attribute(right, "T", ast.Load()))
            yield ast.BinOp(right, ast.MatMult(), left)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield node.operand
    elif isinstance(node, ast.Compare):
        for k, op in enumerate(node.ops):
            yield ast.Compare(node.left, [*node.ops[:k], OPPOSITE[type(op)](), *node.ops[k + 1:]], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        for k in range(len(node.values)):
            rest = node.values[:k] + node.values[k + 1:]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Constant):
        yield from constants(node.value)
    elif isinstance(node, ast.Name):
        other = {"DONE": "STOPPED", "STOPPED": "DONE"}.get(node.id)
        if other:
            yield ast.Name(other, ast.Load())
    elif isinstance(node, ast.Attribute):
        if node.attr == "T" and not dialect.c:
            yield node.value
        if isinstance(node.value, ast.Name):
            base = node.value.id
            if dialect.c and base == "p" and node.attr in CONFUSED:
                yield ast.Attribute(node.value, CONFUSED[node.attr], ast.Load())
            elif (base, node.attr) in dialect.siblings:
                yield ast.Attribute(node.value, dialect.siblings[base, node.attr], ast.Load())
        if node.attr == "ones_like":
            yield ast.Attribute(node.value, "zeros_like", ast.Load())
    elif isinstance(node, ast.Dict) and len(node.values) > 1:
        first, second, *others = node.values
        yield ast.Dict(node.keys, [second, first, *others])
    elif isinstance(node, ast.Subscript):
        yield from subscripts(node, dialect)
    elif isinstance(node, ast.Call):
        yield from calls(node, dialect)


def constants(value):
    """Yield what may wrongly stand in place of a constant: the other bool or letter, or a number one or twice as large."""
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, bytes):
        yield ast.Constant({b"N": b"T", b"T": b"N"}[value])
    elif isinstance(value, (int, float)):
        yield ast.Constant(value + 1 if value in (0, 1) else 2 * value)


def subscripts(node, dialect):
    """Yield what may wrongly stand in place of a subscript: the opposite part of a slice, or a neighbouring index."""
    index = node.slice
    if isinstance(index, ast.Slice) and index.step is None:
        lower, upper = index.lower, index.upper
        one, minus_one = ast.Constant(1), ast.UnaryOp(ast.USub(), ast.Constant(1))
        if lower is not None and upper is None:
            yield ast.Subscript(node.value, ast.Slice(None, minus_one), node.ctx)
        elif lower is None and upper is not None:
            yield ast.Subscript(node.value, ast.Slice(one, None), node.ctx)
    elif isinstance(index, ast.Name):
        wrong = ast.Constant(0) if dialect.c else ast.BinOp(index, ast.Sub(), ast.Constant(1))
        yield ast.Subscript(node.value, wrong, node.ctx)
    elif isinstance(index, ast.Constant) and index.value in CONFUSED:
        yield ast.Subscript(node.value, ast.Constant(CONFUSED[index.value]), node.ctx)


def calls(node, dialect):
    """Yield what may wrongly stand in place of a call: one turn too few, its bare argument, or two arguments exchanged."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    args = node.args

    def with_args(new, function=node.func):
        """Return the call with other arguments."""
        return ast.Call(function, new, node.keywords)

    if name == "range":  # one turn too few, at either end
        if len(args) == 3:
            yield with_args([args[0], ast.Constant(0), args[2]])
        else:
            yield with_args([*args[:-1], ast.BinOp(args[-1], ast.Sub(), ast.Constant(1))])
        if len(args) == 1:
            yield with_args([ast.Constant(1), args[0]])
    elif name == "reversed":
        yield args[0]
    elif name in UNARY and len(args) == 1:
        yield args[0]
    elif name in ("min", "max"):
        yield from args
    elif name in ("zeros", "zeros_like", "ones", "ones_like"):
        other = name.replace("zeros", "ones") if "zeros" in name else name.replace("ones", "zeros")
        yield with_args(args, ast.Attribute(node.func.value, other, ast.Load()))
    elif name == "where":
        yield with_args([args[0], args[2], args[1]])
    elif name in ("fresh", "view", "sizeof"):
        return
    elif not dialect.c:
        if name in ("accumulate", "e", "de", "pull_back") and len(args) > 1:
            yield with_args([args[1], args[0], *args[2:]])
    else:
        for kind in (False, True):  # sizes with the next size, arrays with the next array
            places = [k for k, arg in enumerate(args) if is_pointer(arg, dialect) == kind
                      and ast.unparse(arg) not in ("k", "c", "w", "p", "what")]
            for i, j in zip(places, places[1:]):
                if ast.unparse(args[i]) != ast.unparse(args[j]):
                    new = list(args)
                    new[i], new[j] = args[j], args[i]
                    yield with_args(new)


def sites(node, path=()):
    """Yield every expression of a statement with the way to it, a tuple of (field, index).

    Expressions of statements inside it are left out.
    """
    for name, value in ast.iter_fields(node):
        if name in ("body", "orelse") and isinstance(node, ast.stmt):
            continue
        for k, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST):
                continue
            here = (*path, (name, k))
            if is_fixed(node, name, k):
                continue
            if isinstance(child, ast.expr):
                yield here, child
            yield from sites(child, here)


def is_fixed(node, name, k):
    """Return whether the child at (name, k) of a node is left alone.

    These are: the bound of a comparison, which is turned round instead; the number of axes and the lengths of those that an
    array has not; the stop and step of a range downwards: `calls` makes its turns too few, and Cython needs a step that is a
    number.
    """
    child = getattr(node, name)[k] if k is not None else getattr(node, name)
    if isinstance(node, ast.Compare) and name == "comparators" and isinstance(child, ast.Constant):
        return True
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("self.fresh", "self.view", "has_shape", "is_ready"):
        return isinstance(child, (ast.Constant, ast.UnaryOp))
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "range" and name == "args" and k in (1, 2) \
        and len(node.args) == 3


def put(root, path, new):
    """Return a copy of the tree `root` in which `new` stands at the end of the path; None leaves a `pass` there."""
    root = copy.deepcopy(root)
    node = root
    for name, k in path[:-1]:
        node = getattr(node, name) if k is None else getattr(node, name)[k]
    name, k = path[-1]
    if k is None:
        setattr(node, name, new)
    else:
        getattr(node, name)[k] = new
    return ast.fix_missing_locations(root)


def changes(statement, dialect):
    """Return a list of (path, node) for every mutation of a statement; the path () stands for all of it."""
    found, kinds = [], {}
    if isinstance(statement, ast.AugAssign):
        turned = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitOr: ast.BitAnd}[
            type(statement.op)]
        found.append(((), ast.AugAssign(statement.target, turned(), statement.value)))
        found.append(((), ast.Assign([statement.target], statement.value)))
    if isinstance(statement, (ast.AugAssign, ast.Continue)) or \
            isinstance(statement, ast.Return) and statement.value is None or \
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) or \
            isinstance(statement, ast.Assign) and isinstance(statement.targets[0], (ast.Subscript, ast.Attribute)) or \
            isinstance(statement, ast.Assign) and dialect.c and reassigns(statement):
        found.append(((), ast.Pass()))
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple) and not dialect.c \
            and not isinstance(statement.value, ast.Tuple) and len(statement.targets[0].elts) == 2:
        target = ast.Tuple(statement.targets[0].elts[::-1], ast.Store())
        found.append(((), ast.Assign([target], statement.value)))
    for path, node in sites(statement):
        if path[0][0] == "targets" and isinstance(node, (ast.Attribute, ast.Name)):
            continue
        for k, new in enumerate(variants(node, dialect)):
            kind = (type(node), type(getattr(node, "op", None)), 0 if isinstance(node, ast.Call) else k)
            kinds.setdefault(kind, []).append((path, new))
    for same in kinds.values():
        found += same[:OF_A_KIND]
    if not found and isinstance(statement, ast.Return) and statement.value is not None:
        double = ast.BinOp(ast.Constant(2), ast.Mult(), statement.value)
        found.append(((), ast.Return(double if dialect.c else None)))
    if not found and isinstance(statement, (ast.If, ast.While)):
        found.append(((("test", None),), ast.UnaryOp(ast.Not(), statement.test)))
    if not found and isinstance(statement, ast.Assign):
        found.append(((), ast.Pass() if dialect.c else ast.Assign(statement.targets, ast.Constant(None))))
    return found


def reassigns(statement):
    """Return whether a name keeps a value from before if the statement goes: x = x + ..., or the status of a call."""
    names = {node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name)}
    target, value = statement.targets[0], statement.value
    return isinstance(target, ast.Name) and (
        target.id in names or target.id == "status" and isinstance(value, ast.Call))


def words(statement):
    """Return a statement as text in one line, a compound one by its head."""
    if isinstance(statement, (ast.If, ast.For, ast.While)):
        head = copy.copy(statement)
        head.body, head.orelse = [ast.Pass()], []
        return ast.unparse(ast.fix_missing_locations(head)).splitlines()[0]
    return " ".join(ast.unparse(ast.fix_missing_locations(statement)).split())


def different(statement, found):
    """Yield the changes `found` of a statement whose text is new: (path, node, text)."""
    seen = {words(statement)}
    for path, node in found:
        text = words(put(statement, path, node) if path else ast.copy_location(copy.deepcopy(node), statement))
        if text not in seen:
            seen.add(text)
            yield path, node, text


# ---------------------------------------------------------------------------------------------------------------------
# The reference
# ---------------------------------------------------------------------------------------------------------------------


def reference_files(tree):
    """Return the paths of the modules of the reference."""
    return sorted((tree / "fastbptt" / "reference").glob("*.py"))


def reference_mutants(tree):
    """Return the syntax trees of the reference's modules by name, their mutants, and the statements that have none."""
    modules = {path.stem: ast.parse(path.read_text()) for path in reference_files(tree)}
    mutants, bare = [], []
    for name, path, place, statement in ((name, *found) for name, module in modules.items()
                                         for found in reference_statements(module)):
        alone = isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Call) or "[" in place
        found = changes(statement, PYTHON)
        if alone:  # a lambda's body: there is no statement to drop, and the path is that of the expression
            found = [(inner, node) for inner, node in found if inner]
            found = found or [((("value", None),), ast.BinOp(ast.Constant(2), ast.Mult(), statement.value))]
        found = list(different(statement, found))
        if not found:
            bare.append(f"{place}:{statement.lineno}  {words(statement)}")
        for inner, node, text in found:
            mutants.append(Mutant(place, statement.lineno, words(statement), text, name,
                                  (*path, *(inner[1:] if alone else inner)), node))
    return modules, mutants, bare


def reference_statements(module):
    """Yield (path, place, statement) for a module of the reference.

    Derivatives in the tables, which are expressions, count too.
    """
    for k, top in enumerate(module.body):
        here = (("body", k),)
        if isinstance(top, ast.FunctionDef) and top.name in REFERENCE_FUNCTIONS:
            yield from inside(top, here, f"reference:{top.name}")
        elif isinstance(top, ast.Assign) and getattr(top.targets[0], "id", "") in REFERENCE_TABLES:
            for j, (key, value) in enumerate(zip(top.value.keys, top.value.values)):
                second = value.elts[1]
                path = (*here, ("value", None), ("values", j), ("elts", 1))
                place = f"reference:{top.targets[0].id}[{key.value}]"
                if isinstance(second, ast.Lambda):
                    yield (*path, ("body", None)), place, ast.copy_location(ast.Expr(second.body), second.body)
                elif isinstance(second, ast.Attribute):
                    yield path, place, ast.copy_location(ast.Expr(second), second)


def inside(node, path, place):
    """Yield (path, place, statement) for all statements below a node, without docstrings. `path` leads to the node."""
    for name in ("body", "orelse"):
        for k, child in enumerate(getattr(node, name, None) or []):
            here = (*path, (name, k))
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue  # a docstring
            yield here, place, child
            yield from inside(child, here, place)


# ---------------------------------------------------------------------------------------------------------------------
# The core
# ---------------------------------------------------------------------------------------------------------------------

CASTS = [""]  # of each length of a run of ~
CAST = re.compile(r"<(?:const )?(?:floating|float|double|char|void|Py_ssize_t|blas_int|size_t)(?: \*)?> ?|&(?=\w)")
SWITCH = '''
cdef extern from *:
    """
    static int fastbptt_mutant = 0;
    """
    int mutant "fastbptt_mutant"


def switch_on(int number):
    global mutant
    mutant = number

'''


def encode(text):
    """Return a Cython expression as one of Python: each cast becomes a number of ~, by its place in CASTS."""
    def run(match):
        """Return the ~ for a match of CAST, and note a new cast."""
        if match[0].strip() not in CASTS:
            CASTS.append(match[0].strip())
        return "~" * CASTS.index(match[0].strip())

    return CAST.sub(run, text)


def decode(text):
    """Return the Cython expression that `encode` encoded."""
    def cast(match):
        """Return the cast for a match of some ~."""
        name = CASTS[len(match[0])]
        return name if name == "&" else f"{name} "

    return re.sub("~+", cast, text)


def cast_of(node):
    """Return how many ~ stand before an expression, and the expression."""
    count = 0
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        count, node = count + 1, node.operand
    return count, node


def logical_lines(text):
    """Yield (first row, last row, indent, code) of every logical line, without comments; rows count from 0."""
    rows, tokens = text.splitlines(), []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            code, at = "", None
            for t in tokens:  # as it was written, comments gone, continued lines joined
                code += " " if at and (t.start[0] > at[0] or t.start[1] > at[1]) else ""
                code, at = code + t.string, t.end
            first = tokens[0].start
            yield first[0] - 1, token.start[0] - 1, first[1], code
            tokens = []
        elif token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            tokens.append(token)
    assert rows or not tokens


def functions(lines):
    """Return {name: (head, logical lines of the body)} of every function; methods as Class.method."""
    found, owner = {}, ("", -1)
    for k, (_, _, indent, code) in enumerate(lines):
        if indent <= owner[1]:
            owner = ("", -1)
        if re.match(r"(cdef )?class ", code):
            owner = (re.search(r"class (\w+)", code)[1] + ".", indent)
        elif re.match(r"(cdef|def|cpdef) .*\(.*:$", code):
            end = next((j for j in range(k + 1, len(lines)) if lines[j][2] <= indent), len(lines))
            found[owner[0] + re.search(r"(\w+)\(", code)[1]] = (code, lines[k + 1:end])
    return found


def declarators(text):
    """Return the parts of a declaration: "T = c.T, *S = f(a, b)" gives ["T = c.T", "*S = f(a, b)"]."""
    parts, depth, begin = [], 0, 0
    for k, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append(text[begin:k].strip())
            begin = k + 1
    return [*parts, text[begin:].strip()]


DECLARATION = re.compile(r"cdef ((?:const |unsigned )?(?:long )*\w+(?:\[\d+\])?) (?=[*\w])(.*)")
HEAD = re.compile(r"(if|elif|while) (.*):$")


class Instrumented:
    """One file whose every statement in scope is a choice between itself and its mutants. `switches`: it has the switch."""

    def __init__(self, name, source, scopes, number, without=frozenset(), switches=True):
        """Rewrite a source file.

        Parameters
        ----------
        name : str
            The group of the file, for the places of its mutants.
        source : str
        scopes : dict
            The functions to mutate, with the first and last statement of a part, or None for all of them.
        number : int
            The number of the last mutant before this file.
        without : set of int
            Numbers of mutants that do not compile.
        switches : bool
            Whether the file gets the switch.
        """
        self.name, self.mutants, self.bare, self.number, self.without = name, [], [], number, without
        self.rows = source.splitlines()
        lines = list(logical_lines(source))
        found = functions(lines)
        self.functions = found.keys() & scopes.keys()
        replaced = {}
        for function, part in scopes.items():
            if function not in found:
                continue
            head, body = found[function]
            self.place, self.dialect = f"{name}:{function}", self.dialect_of(head, body)
            active = part is None
            for first, last, indent, code in body:
                active = active or part is not None and code == part[0]
                if active and not code.startswith(('"""', "if floating is ", "else:", "with ", "try:", "finally:")):
                    new = self.line(first + 1, " " * indent, code)
                    if new is not None:
                        replaced[first] = (last, new)
                if part is not None and code == part[1]:
                    active = False
        out, self.numbers, row = [], {}, 0  # numbers: row of the result -> the mutant on it
        while row < len(self.rows):
            last, new = replaced.get(row, (row, [(self.rows[row], None)]))
            for text, which in new:
                if which is not None:
                    self.numbers[len(out) + 1] = which
                out.append(text)
            row = last + 1
        at, switch = 0, []
        if switches:
            at = out.index(next(text for text in out if text.startswith(("# ----", "# Files", "cdef enum", "cdef extern"))))
            switch = SWITCH.splitlines()
        self.text = "\n".join([*out[:at], *switch, *out[at:]]) + "\n"
        self.numbers = {row + (len(switch) if row > at else 0): which for row, which in self.numbers.items()}

    def dialect_of(self, head, body):
        """Return the Dialect of a function with this head and body.

        It has its pointers, and for each attribute that it declares another of the same kind.
        """
        declared = " ".join([head, *(code for *_, code in body if code.startswith("cdef "))])
        pointers = frozenset(re.findall(r"\*\s*(\w+)", re.sub(r"<[^>]*>", "", declared)))
        groups = {}
        for *_, code in body:
            if code.startswith("cdef "):
                for base, attribute in re.findall(r"= (?:<[^>]*> )?(\w)\.(\w+)(?= if|,|$)", code):
                    groups.setdefault((base, "*" in code), []).append(attribute)
        siblings = {(base, one): other for (base, _), names in groups.items()
                    for one, other in zip(names, names[1:] + names[:1]) if one != other}
        return Dialect(True, pointers, siblings)

    def alternatives(self, row, statement, original, dialect, droppable=True):
        """Return the mutants of one statement, on this row, that compile: (number, mutated statement).

        `original` is its code. A statement that is not `droppable`, a declaration, cannot be left out.
        """
        found = [(path, node) for path, node in changes(statement, dialect) if droppable or path]
        if not found and not droppable:  # the value of a declaration: twice as large, or a wrong pointer
            value = statement.value
            wrong = ast.BinOp(ast.Constant(2), ast.Mult(), value)
            if getattr(value, "id", "") == "NULL":
                wrong = ast.Name(self.previous, ast.Load())
            elif "*" in original.split("=")[0]:
                wrong = ast.Name("NULL", ast.Load())
            found = [((("value", None),), wrong)]
        result = []
        for path, node, _ in different(statement, found):
            mutated = put(statement, path, node) if path else ast.copy_location(copy.deepcopy(node), statement)
            code = decode(words(mutated))
            self.number += 1
            if self.number in self.without:
                continue
            self.mutants.append(Mutant(self.place, row, original, code, number=self.number))
            result.append((self.number, mutated))
        if not result:
            self.bare.append(f"{self.place}:{row}  {original}")
        return result

    def line(self, row, indent, code):
        """Return the rows that stand for one logical line of code, each with the number of the mutant on it; None: as it is."""
        plain = Dialect(True, self.dialect.pointers)
        if match := DECLARATION.match(code):
            if "=" not in code:
                return None
            out = []
            for declarator in declarators(match[2]):
                out.append((f"{indent}cdef {match[1]} {declarator}", None))
                if " = " in declarator:
                    name, value = declarator.lstrip("*").split(" = ", 1)
                    statement = ast.parse(f"{name} = {encode(value)}").body[0]
                    for number, mutated in self.alternatives(row, statement, f"cdef {match[1]} {declarator}",
                                                             self.dialect, droppable=False):
                        out.append((f"{indent}if mutant == {number}:", None))
                        out.append((f"{indent}    {decode(ast.unparse(mutated))}", number))
                    if declarator.startswith("*"):
                        self.previous = name
            return out
        if match := HEAD.match(code):
            statement = ast.parse(encode(f"{match[1].removeprefix('el')} {match[2]}: pass")).body[0]
            mutants = self.alternatives(row, statement, code, plain)
            truth = " != 0" if isinstance(statement.test, (ast.Name, ast.Attribute)) else ""  # a number beside a bint
            return [(f"{indent}{match[1]} (", None),
                    *((f"{indent}        ({decode(ast.unparse(mutated.test))}) if mutant == {number} else", number)
                      for number, mutated in mutants),
                    (f"{indent}        ({match[2]}{truth})):", None)]
        if code.startswith("for "):
            statement = ast.parse(encode(code) + " pass").body[0]
            mutants = self.alternatives(row, statement, code, plain)
            ends = [self.bounds(statement)] + [self.bounds(mutated) for _, mutated in mutants]
            out = [(f"{indent}for {decode(ast.unparse(statement.target))} in range(", None)]
            for k in range(2):
                for (number, _), end in zip(mutants, ends[1:]):
                    if end[k] != ends[0][k]:
                        out.append((f"{indent}        ({end[k]}) if mutant == {number} else", number))
                out.append((f"{indent}        ({ends[0][k]}),", None))
            return [*out, (f"{indent}        {ends[0][2]}):", None)]
        statement = ast.parse(encode(code)).body[0] if not code.startswith(("return", "continue")) else \
            ast.parse(f"while True:\n    {encode(code)}" if code == "continue" else
                      f"def f():\n    {encode(code)}").body[0].body[0]
        mutants = self.alternatives(row, statement, code, plain)
        if not mutants:
            return None
        out = [(f"{indent}if not {mutants[0][0]} <= mutant <= {mutants[-1][0]}:", None), (f"{indent}    {code}", None)]
        for number, mutated in mutants:
            out.append((f"{indent}elif mutant == {number}:", None))
            out.append((f"{indent}    {decode(ast.unparse(mutated))}", number))
        return out

    @staticmethod
    def bounds(statement):
        """Return start, stop and step of the range of a loop, as text."""
        args = [decode(ast.unparse(arg)) for arg in statement.iter.args]
        return (*(["0", *args] if len(args) == 1 else args), "1")[:3]


def core_files(tree):
    """Yield (group, path, whether it is the group's first), for every file of the core."""
    for group, patterns in CORE_FILES.items():
        paths = [path for pattern in patterns for path in sorted((tree / "fastbptt").glob(pattern))]
        for path in paths:
            yield group, path, path == paths[0]


def keep_originals(tree):
    """Copy the core's sources to the folder `original` of the tree, from which `instrument` reads them."""
    for _, path, _ in core_files(tree):
        kept = tree / "original" / path.relative_to(tree / "fastbptt")
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, kept)


def instrument(tree, without):
    """Rewrite the core's sources in the tree with all mutants but those in `without`."""
    mutants, bare, numbers, unknown, number = [], [], {}, {}, 0
    for group, path, first in core_files(tree):
        name = path.relative_to(tree / "fastbptt").as_posix()
        source = (tree / "original" / name).read_text()
        result = Instrumented(group, source, CORE_FUNCTIONS[group], number, without, first)
        number = result.number
        mutants += result.mutants
        bare += result.bare
        text = result.text
        if group == "blas":
            text, count = re.subn(r"(?m)^table\.pad_f32 = table\.pad_f64 = 1$",
                                  "table.pad_f32 = table.pad_f64 = 4", text)
            if count != 1:
                raise RuntimeError("kernels/blas.pyx sets its pad in another way than this script knows")
        (tree / "fastbptt" / name).write_text(text)
        numbers[name] = result.numbers
        unknown[group] = unknown.get(group, set(CORE_FUNCTIONS[group])) - result.functions
    if any(unknown.values()):
        raise RuntimeError(f"CORE_FUNCTIONS names functions that no file has: {unknown}")
    return mutants, bare, numbers


def build(tree):
    """Build the instrumented core. Return the mutants, the statements that have none, and how many did not compile."""
    keep_originals(tree)
    without = set()
    environment = {**os.environ, "FASTBPTT_CFLAGS": "-O1 -w"}
    for _ in range(12):
        mutants, bare, numbers = instrument(tree, without)
        done = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j2"], cwd=tree,
                              env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            return mutants, bare, len(without)
        said = done.stdout + done.stderr
        wrong = {numbers[name].get(int(row)) for name, row in re.findall(r"fastbptt/([\w/]+\.(?:pyx|pxi)):(\d+):\d+: ", said)
                 if name in numbers}
        if not wrong - {None}:
            raise RuntimeError(f"the instrumented core does not compile:\n{said[-4000:]}")
        without |= wrong - {None}
    raise RuntimeError(f"the instrumented core does not compile:\n{said[-4000:]}")


# ---------------------------------------------------------------------------------------------------------------------
# The run
# ---------------------------------------------------------------------------------------------------------------------


class Child:
    """A fork that runs some tests under one mutant and reports through a pipe."""

    def __init__(self, runner, mutant, order):
        """Start the fork, which runs the tests `order` (indices) under the mutant."""
        self.mutant, self.order, self.at, self.since = mutant, order, None, time.monotonic()
        self.failed, self.passed, self.buffer, self.finished, self.hung = [], {}, b"", False, False
        read, write = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            status = 1
            try:
                os.close(read)
                runner.child(mutant, order, write)
                status = 0
            finally:
                os._exit(status)
        os.close(write)
        self.pipe = read

    def read(self):
        """Read what the fork has written, and return whether it has ended."""
        data = os.read(self.pipe, 65536)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            word, *rest = line.decode().split()
            self.since = time.monotonic()
            if word == "begin":
                self.at = int(rest[0])
            elif word == "fail":
                self.failed.append(int(rest[0]))
            elif word == "pass":
                self.passed[int(rest[0])] = float(rest[1])
            elif word == "done":
                self.finished = True
        if not data:
            os.close(self.pipe)
            os.waitpid(self.process, 0)
        return not data


class Runner:
    """A pytest plugin: collects once, and instead of running the tests runs them for each mutant in a fork."""

    def __init__(self, modules, mutants, jobs):
        """Run `mutants` in at most `jobs` processes at once. `modules` are the syntax trees of the reference by name."""
        self.modules, self.mutants, self.jobs, self.say = modules, mutants, jobs, None
        self.baseline_failures = []

    def pytest_runtestloop(self, session):
        """Run all tests without a mutant, then each mutant's tests. pytest calls it in place of its own loop."""
        self.items = [item for item in session.items if OF_INPUTS.search(item.nodeid.split("/")[-1])]
        self.names = [re.sub(r"^[^:]*/", "", item.nodeid) for item in self.items]  # without the folder
        session.config._tmp_path_factory.getbasetemp()  # once, before the forks
        everything = list(range(len(self.items)))
        self.time, failed = {}, set()
        running = [(None, self.whole(None, everything[k::self.jobs])) for k in range(self.jobs)]
        for _, child in self.watch(running):
            failed |= set(child.failed) | ({child.at} if not child.finished else set())
            self.time |= child.passed
        self.baseline_failures = [self.names[k] for k in sorted(failed)]
        self.usable = {True: [], False: []}
        for k, item in enumerate(self.items):
            backend = getattr(item, "callspec", None) and item.callspec.params.get("backend")
            if k in self.time and k not in failed:
                if backend != "reference":
                    self.usable[True].append(k)
                if backend != "core":
                    self.usable[False].append(k)
        waiting = [(mutant, self.whole(mutant, self.order(mutant))) for mutant in self.mutants]
        for mutant, child in self.watch(waiting):
            self.say(mutant)
        return True

    def whole(self, mutant, order):
        """Return a function that starts the fork for a mutant and these tests."""
        return lambda: Child(self, mutant, order)

    def order(self, mutant):
        """Return the tests to run for a mutant: the likely ones first, then file by file, quick ones before slow ones."""
        core = mutant.number > 0
        likely = [name for place, statement, names in LIKELY if fnmatch.fnmatchcase(mutant.place, place)
                  and fnmatch.fnmatchcase(f"{mutant.original} {mutant.mutated}", statement) for name in names]

        def key(k):
            """Return the sort key of a test."""
            file, test = self.names[k].split("::", 1)
            rank = next((j for j, name in enumerate(likely) if name in test), len(likely))
            return rank, TEST_FILES.index(file), self.time[k]

        allowed = self.usable[core]
        if reason_for(mutant):
            allowed = [k for k in allowed if self.time[k] < QUICK or any(name in self.names[k] for name in likely)]
        if core:
            allowed = [k for k in allowed if not self.names[k].startswith("test_reference")]
        else:
            allowed = [k for k in allowed if not self.names[k].startswith("test_core.py")]
        return sorted(allowed, key=key)

    def watch(self, waiting):
        """Keep `jobs` forks running; yield each mutant with its last fork once its fate is known.

        `waiting` has pairs of a mutant and the function that starts its fork.
        """
        waiting, running = list(waiting), []
        while waiting or running:
            while waiting and len(running) < self.jobs:
                running.append(waiting.pop(0)[1]())
            ready, _, _ = select.select([child.pipe for child in running], [], [], 1)
            for child in list(running):
                ended = child.pipe in ready and child.read()
                if not ended and time.monotonic() - child.since > STALLED:
                    os.kill(child.process, signal.SIGKILL)
                    if child.mutant is not None:
                        child.mutant.tests.append(("hang", child.at))
                    child.since, child.hung = time.monotonic(), True
                if not ended:
                    continue
                running.remove(child)
                mutant = child.mutant
                if mutant is None:
                    yield None, child
                    continue
                last = child.order.index(child.at) + 1 if child.at is not None else 0
                if child.failed:
                    mutant.outcome, mutant.tests = "test", [*mutant.tests, ("test", child.failed[0])]
                elif child.finished:
                    mutant.outcome = "crash" if mutant.tests else "survived"
                else:
                    if not child.hung:
                        mutant.tests.append(("crash", child.at))
                    mutant.outcome = "crash"
                    if len(mutant.tests) < 4 and last and not child.hung:
                        running.append(Child(self, mutant, child.order[last:]))
                        continue
                yield mutant, child

    def child(self, mutant, order, pipe):
        """Run in the fork: switch the mutant on, run the tests in order, stop at the first that fails. Report to `pipe`."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self.outcomes = []
        if mutant is not None:
            switch_on(self.modules, mutant)
        for k, following in zip(order, [*order[1:], None]):
            os.write(pipe, f"begin {k}\n".encode())
            begin, self.outcomes = time.monotonic(), []
            item = self.items[k]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following and self.items[following])
            if "failed" in self.outcomes:
                os.write(pipe, f"fail {k}\n".encode())
                if mutant is not None:
                    break
            elif "skipped" not in self.outcomes:
                os.write(pipe, f"pass {k} {time.monotonic() - begin}\n".encode())
        os.write(pipe, b"done\n")

    def pytest_runtest_logreport(self, report):
        """Keep the outcome of a part of a test. pytest calls it."""
        self.outcomes.append(report.outcome)


def switch_on(modules, mutant):
    """Let the core, or the reference, compute as the mutant does."""
    from fastbptt import _core
    from fastbptt.kernels import blas as _blas

    if mutant.number:
        _core.switch_on(mutant.number)
        _blas.switch_on(mutant.number)
    else:  # run the mutated source in the module, and give what it defines to the modules that imported it from there
        module = sys.modules[f"fastbptt.reference.{mutant.module}"]
        before = dict(vars(module))
        exec(compile(put(modules[mutant.module], mutant.path, copy.deepcopy(mutant.node)), module.__file__, "exec"),
             vars(module))
        for name, other in list(sys.modules.items()):
            if name == "fastbptt.reference" or name.startswith("fastbptt.reference."):
                vars(other).update({each: vars(module)[each] for each, value in vars(other).items()
                                    if value is before.get(each) and not each.startswith("__")})


def reason_for(mutant):
    """Return the entry of EQUIVALENT for a mutant, or None."""
    for key in EQUIVALENT:
        if all(fnmatch.fnmatchcase(text, pattern) for text, pattern in
               zip((mutant.place, mutant.original, mutant.mutated), key)):
            return key
    return None


def main():
    """Run the command in a copy of the source folder, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reference", action="store_true", help="only the reference")
    parser.add_argument("--core", action="store_true", help="only the compiled core")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("-k", metavar="PATTERN", default="", help="only mutants whose line matches this regular expression")
    parser.add_argument("--at-most", type=int, metavar="N", help="only N of the mutants, drawn at random")
    parser.add_argument("--seed", default="", help="of that draw, any text")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    arguments = parser.parse_args()
    both = arguments.reference == arguments.core
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(Path(__file__).resolve().parents[2], tree, ignore=shutil.ignore_patterns(
            ".*", "build", "dist", "*.egg-info", "*.so", "*.pyd", "__pycache__"))
        return run(arguments, tree, both or arguments.reference, both or arguments.core, begin)


def run(arguments, tree, with_reference, with_core, begin):
    """Make the mutants in the copy `tree`, run the tests under each, print their fates, and return whether any survived.

    `with_reference` and `with_core` say which parts are mutated. `begin` is the time at which the command began.
    """
    modules, mutants, bare = reference_mutants(tree)
    if not with_reference:
        mutants, bare = [], []
    failures = 0
    if arguments.list:
        keep_originals(tree)
        core, core_bare, _ = instrument(tree, frozenset())
    else:
        core, core_bare, uncompiled = build(tree)
        print(f"built in {time.monotonic() - begin:.0f} s; {uncompiled} mutants of the core do not compile", flush=True)
    if with_core:
        mutants, bare = mutants + core, bare + core_bare
    for statement in bare:
        reason = next((words for pattern, words in NO_MUTANT.items() if fnmatch.fnmatchcase(statement, pattern)), None)
        print(f"{'no mutant' if reason else 'NO MUTANT'} of {statement}{f': {reason}' if reason else ''}")
        failures += reason is None
    mutants = [mutant for mutant in mutants if re.search(arguments.k, str(mutant))]
    if arguments.at_most is not None and arguments.at_most < len(mutants):
        print(f"{arguments.at_most} of {len(mutants)} mutants, drawn by --seed {arguments.seed!r}")
        chosen = set(random.Random(arguments.seed).sample(range(len(mutants)), arguments.at_most))
        mutants = [mutant for n, mutant in enumerate(mutants) if n in chosen]
    if arguments.list:
        print(*mutants, sep="\n")
        print(f"{len(mutants)} mutants")
        return failures > 0

    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", FASTBPTT_SIMD="blas",
                      PYTEST_DEBUG_TEMPROOT=str(tree.parent))
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [str(tree), str(tree / "tests" / "support"), *(entry for entry in sys.path if entry not in ("", here))]
    os.environ.setdefault("FASTBPTT_TESTS", "instances")  # a mutant meets what a plain run leaves out, too
    sys.dont_write_bytecode = True
    os.chdir(tree)
    import pytest

    import fastbptt

    if not Path(fastbptt.__file__).is_relative_to(tree.resolve()):
        raise RuntimeError(f"fastbptt was imported from {fastbptt.__file__}, not from the copy in {tree}")
    used, count = set(), dict.fromkeys(("test", "crash", "equivalent", "survived", "wrongly listed"), 0)

    def say(mutant):
        """Count a mutant whose fate is known, and print it."""
        key = reason_for(mutant)
        if mutant.outcome == "survived" and key:
            mutant.outcome, mutant.reason = "equivalent", EQUIVALENT[key]
        elif key and mutant.outcome in ("test", "crash"):
            count["wrongly listed"] += 1
        used.add(key)
        count[mutant.outcome] += 1
        words = {"test": "killed by", "crash": "killed by a crash in", "survived": "SURVIVED",
                 "equivalent": f"equivalent: {mutant.reason}"}[mutant.outcome]
        if mutant.outcome in ("test", "crash"):
            words += " " + runner.names[mutant.tests[-1][1]]
            if mutant.outcome == "crash" and mutant.tests[-1][0] == "hang":
                words = words.replace("crash", "hang")
            if mutant.outcome == "test" and len(mutant.tests) > 1:
                words += f" (and by a {mutant.tests[0][0]} in {runner.names[mutant.tests[0][1]]})"
            if key:
                words = f"LISTED AS EQUIVALENT, but {words}"
        print(f"{sum(count[o] for o in ('test', 'crash', 'equivalent', 'survived')):4d} {mutant}\n       {words}",
              flush=True)

    runner = Runner(modules, mutants, arguments.jobs)
    files = [str(path) for name in TEST_FILES for path in (tree / "tests").glob(f"*/{name}")]
    with open(os.devnull, "w") as nothing:
        stdout, sys.stdout = sys.stdout, nothing
        try:
            runner.say = lambda mutant: spoken(stdout, say, mutant)
            status = pytest.main(["-q", "-s", "-p", "no:cacheprovider", "-p", "no:faulthandler", f"--rootdir={tree}",
                                  *files], plugins=[runner])
        finally:
            sys.stdout = stdout
    if not hasattr(runner, "usable"):
        raise RuntimeError(f"pytest ended with status {status} before any mutant ran")
    if runner.baseline_failures:
        print(f"{len(runner.baseline_failures)} tests fail without any mutant and had no part:",
              *runner.baseline_failures, sep="\n    ")
    stale = []
    if not arguments.k and arguments.at_most is None:
        places = {mutant.place.split(":")[0] for mutant in mutants}
        stale = [key for key in EQUIVALENT if key not in used
                 and any(fnmatch.fnmatchcase(place, key[0].split(":")[0]) for place in places)]
    for key in stale:
        print(f"STALE: no mutant is {key}")
    print(f"{len(mutants)} mutants: {count['test']} killed by a named test, {count['crash']} by a crash, "
          f"{count['equivalent']} equivalent (listed), {count['survived']} survived; {time.monotonic() - begin:.0f} s")
    return bool(count["survived"] or failures)


def spoken(stream, say, mutant):
    """Call say(mutant) with `stream` as sys.stdout, because pytest runs with another one."""
    before, sys.stdout = sys.stdout, stream
    try:
        say(mutant)
    finally:
        sys.stdout = before


if __name__ == "__main__":
    sys.exit(main())
