"""Which tests hold which of the numbered lessons of the field that concern training; a test that goes away is missed.

The numbers are those of the project's list of pitfalls: what public tools get wrong, and what this one does instead.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch

from gazetools.trainer.plan.config import load_config
from tests.helpers.models import build_model

REQUIREMENTS: dict[int, tuple[str, list[str]]] = {
    1: ("anticipation counts from the action's start; the anchor is named in every log and report", [
        "test_anchor_rule", "test_anchor_points", "test_a_config_for_the_v_jepa_2_tree_is_validated_under_both_anchors",
        "test_a_run_leaves_metrics_checkpoints_and_a_result", "test_what_the_report_writes",
    ]),
    2: ("times and decoded pts, never EPIC's frame numbers", [
        "test_times_count_from_the_first_frame", "test_compat_uses_frame_numbers_and_the_nominal_rate",
    ]),
    3: ("the frame nearest to each wanted time; the predictor is told true times", [
        "test_frames_are_those_nearest_to_the_wanted_times", "test_frames_of_a_variable_rate_are_chosen_by_their_times",
        "test_each_sample_has_its_own_tau", "test_frames_have_fractional_times_around_their_steps",
    ]),
    16: ("a grid of heatmap tokens: moving the blob moves the output", [
        "test_moving_the_blob_changes_the_prediction",
        "test_moving_the_blob_or_its_time_changes_the_output_for_every_length",
    ]),
    17: ("one geometric transform for frames and maps, through every augmentation", [
        "test_a_dot_in_the_frame_and_a_dot_in_the_map_stay_together",
        "test_a_dot_in_the_frame_and_a_dot_in_the_map_stay_together_through_every_warp",
        "test_motion_shift_moves_the_crop_evenly_and_the_map_with_it",
    ]),
    18: ("frames pair up per tubelet, odd and even", ["test_tubelets_are_averaged_for_odd_and_even_lengths"]),
    19: ("zero, error or skip, counted; broken is never missing", [
        "test_coverage_and_what_was_left_out_are_counted", "test_a_broken_file_is_never_a_missing_one",
        "test_a_store_source_tells_missing_from_broken_and_can_be_pickled",
        "test_a_source_without_any_map_stops_the_run_and_skip_leaves_clips_out",
        "test_a_run_leaves_metrics_checkpoints_and_a_result", "test_what_the_report_writes",
    ]),
    20: ("sizes come from the config, indices outside are errors", [
        "test_maps_without_times_must_fit_the_frames_up_to_the_tolerance", "test_indices_outside_are_errors",
        "test_a_constant_map_stays_constant_up_to_the_edges",
    ]),
    21: ("compressed or not, one file or many: all are read; the default through a memory map", [
        "test_our_layouts_read_alike", "test_heatmaps_of_other_tools", "test_the_maps_start_at_a_multiple_of_64_bytes",
    ]),
    22: ("stored small, resized when read", ["test_sizes_are_real", "test_defaults_copy_the_maps_bit_by_bit"]),
    23: ("nothing half-written has a final name", [
        "test_a_failed_save_leaves_the_older_checkpoints", "test_two_kills",
        "test_a_killed_run_goes_on_from_its_journal",
    ]),
    24: ("changing tau changes the output", ["test_changing_tau_changes_the_output"]),
    25: ("pretrained weights load whole or the run stops", [
        "test_pretrained_weights_load_strictly_and_give_what_the_config_leaves_out",
        "test_strict_loading_lists_every_kind_of_mismatch_and_loads_nothing",
    ]),
    26: ("what trains is explicit and has gradients", [
        "test_heatmap_weights_get_gradients_in_the_loop", "test_training_lowers_the_loss_and_moves_only_what_trains",
        "test_gradients_reach_the_heatmap_part_and_never_a_frozen_encoder",
    ]),
    27: ("killed or stopped and resumed gives the same bits", [
        "test_stopped_by_a_signal_and_resumed_gives_identical_weights", "test_two_kills",
        "test_dropped_heatmaps_are_drawn_again_after_a_resume",
        "test_two_processes_stopped_and_resumed_give_identical_weights",
    ]),
    28: ("every validation clip once, on any number of processes", [
        "test_ranks_see_every_clip_once_in_the_batches_of_one_process",
        "test_steps_and_batches_of_several_ranks_are_those_of_one",
        "test_two_processes_give_the_numbers_of_one_with_the_doubled_batch",
    ]),
    29: ("the epoch and the probe are chosen on held-out videos, both numbers shown", [
        "test_the_best_epoch_is_chosen_on_held_out_videos_and_both_numbers_are_shown",
    ]),
    30: ("class ids sorted and in the checkpoint", [
        "test_class_ids_are_sorted_whatever_the_order_of_rows", "test_a_run_leaves_metrics_checkpoints_and_a_result",
        "test_a_checkpoint_of_another_config_or_other_classes_ends_before_heavy_work",
    ]),
    31: ("unreadable clips are named and bounded; NaN stops before the step", [
        "test_unreadable_clips_are_named_and_not_replaced",
        "test_unreadable_clips_stop_the_run_or_are_counted_within_the_budget",
        "test_nan_stops_before_the_step_and_keeps_the_state",
        "test_a_bad_probe_is_dropped_by_name_and_spoils_no_other",
    ]),
    32: ("which mask token anticipates is a named switch, 1 by default", [
        "test_the_mask_token_that_anticipates_is_the_configs",
    ]),
    33: ("controls are one switch each, seeds are shown", [
        "test_controls_do_what_they_say", "test_names_of_learners",
        "test_the_answer_and_the_summary_are_those_of_the_tables",
        "test_only_arms_that_see_the_gaze_find_the_noun_and_the_report_shows_it",
    ]),
    34: ("verb, noun and action, or keysteps with an action alone", [
        "test_one_action_column_is_enough", "test_keysteps_are_one_action_per_segment_in_seconds_of_the_take",
        "test_keysteps_train_on_raw_gaze_with_every_augmentation",
    ]),
    41: ("nothing at or after the end of the observation enters it", [
        "test_changing_everything_at_or_after_the_end_of_observation_changes_nothing",
        "test_nothing_after_the_observation_enters_with_everything_switched_on",
        "test_nothing_of_another_view_at_or_after_the_end_enters",
        "test_datasets_filled_from_the_future_are_refused_unless_allowed", "test_hold_is_causal",
    ]),
    42: ("heatmaps of another view have transforms of their own; takes never straddle a split", [
        "test_another_views_maps_are_matched_by_take_time_and_shown_whole",
        "test_cameras_of_one_take_never_straddle_a_split", "test_a_take_is_held_out_with_all_its_cameras",
        "test_heatmap_tokens_precede_their_steps_video_tokens_at_the_same_positions",
    ]),
    43: ("in/out travels from the store to the model", [
        "test_out_of_frame_gaze_is_gated_or_weighted", "test_store_inout_gates_and_weights_each_person",
        "test_weighting_by_inout_survives_normalising",
    ]),
    44: ("0 % coverage stops, coverage is said at the start", [
        "test_bad_input_ends_before_heavy_work", "test_a_run_leaves_metrics_checkpoints_and_a_result",
        "test_problems_with_the_data_stop_before_any_work",
    ]),
}  # fmt: skip


def all_tests() -> set[str]:
    """Names of every test function of the project."""
    files = Path(__file__).parents[1].rglob("test_*.py")
    trees = (ast.parse(path.read_text()) for path in files)
    return {n.name for tree in trees for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and "test_" in n.name}


def test_every_requirement_has_its_tests() -> None:
    """Of 1-3, 16-34 and 41-44, which are those of training."""
    assert list(REQUIREMENTS) == [*range(1, 4), *range(16, 35), *range(41, 45)]
    known = all_tests()
    gone = {number: sorted(set(tests) - known) for number, (_, tests) in REQUIREMENTS.items()}
    assert not {number: names for number, names in gone.items() if names}
    assert all(tests for _, tests in REQUIREMENTS.values())


@pytest.mark.parametrize(("override", "used"), [([], 1), (["model_kwargs.pretrain_kwargs.predictor.mask_index=0"], 0)])
def test_the_mask_token_that_anticipates_is_the_configs(tiny: dict[str, Any], override: list[str], used: int) -> None:
    """V-JEPA 2 anticipates with its second token, although released configs train only the first."""
    settings = load_config(tiny, ["model_kwargs.pretrain_kwargs.predictor.num_mask_tokens=2", *override])
    wrapper = build_model(settings).wrapper.eval()
    assert wrapper.predictor is not None
    video, heatmap = torch.rand(1, 3, 4, 32, 32), torch.rand(1, 4, 32, 32)
    with torch.no_grad():
        before = wrapper(video, torch.tensor([1.0]), heatmap)
        for index, token in enumerate(wrapper.predictor.mask_tokens):
            kept = token.detach().clone()
            token.add_(1.0)
            assert torch.equal(wrapper(video, torch.tensor([1.0]), heatmap), before) is (index != used)
            token.copy_(kept)
