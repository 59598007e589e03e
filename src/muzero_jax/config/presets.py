"""Short names for whole configurations.

"Published" figures are those of the tables in docs/algorithm.md; all else is
this project's own choice. `config.from_preset` makes a `Config` of one.
"""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
  # Own choice: balances for 500 steps within minutes on two cores. Returns are
  # near 280, q-values of a position differ by a few at most: stretched to
  # [0, 1] without a floor, their noise would make the policy.
  'cartpole': dict(
    family='classic', env_id='cartpole', network='auto', num_blocks=1,
    num_channels=128, support_bins=51, support_max=25.0, search='gumbel',
    num_simulations=16, gumbel_min_range=3.0, num_envs=64, rollout_length=16,
    replay_capacity=100_000, min_replay=4_096, priority_alpha=0.6,
    priority_beta=1.0, unroll_steps=5, td_steps=50, batch_size=256,
    updates_per_iteration=64, learning_rate=1e-3, ema_decay=0.9994,
    temperature=(1.0, 0.5, 0.25), temperature_at=(0.0, 0.4, 0.7),
    num_steps=145_000),
  # Own choice, for whatever environment is named: the recipe of docs/recipe.md,
  # as in `minatar`. 201 bins, since of 51 each is 25 wide at returns of -150. A
  # replay as long as the runs it was tried on: with a quarter of it CartPole
  # forgot how an episode ends badly, and fell from 500 to 64.
  'gymnasium': dict(
    family='gymnasium', env_id='LunarLander-v3', network='auto', num_blocks=1,
    num_channels=128, head_hidden=64, support_bins=201, support_max=25.0,
    search='gumbel', num_simulations=16, gumbel_min_range=0.0,
    gumbel_prior_weight=0.8, discount=0.995, num_envs=32, rollout_length=16,
    noise_steps=(1, 2, 4, 8), replay_capacity=200_000, min_replay=4_096,
    priority_alpha=0.0, unroll_steps=5, td_steps=20, fresh_values=True,
    policy_gradient_weight=4.0, batch_size=256, updates_per_iteration=32,
    learning_rate=1e-3, ema_decay=0.999, temperature=(1.0, 0.5, 0.25),
    temperature_at=(0.0, 0.4, 0.7), num_steps=800_000),
  # Own choice, after `cartpole`; candidates as many as simulations, so that
  # each is tried once at the root. A step costs up to 16, so that returns of
  # 200 steps go from -1,900 to about -100. Its last iteration ends below 300k.
  'pendulum': dict(
    family='continuous', env_id='Pendulum-v1', network='auto', num_blocks=1,
    num_channels=128, head_hidden=64, support_bins=81, support_max=40.0,
    policy_head='tanh_gaussian', num_sampled_actions=16, entropy_weight=5e-3,
    search='gumbel', num_simulations=16, gumbel_min_range=1.0,
    discount=0.98, num_envs=32, rollout_length=16, replay_capacity=100_352,
    min_replay=4_096, unroll_steps=5, td_steps=5, value_weight=0.5,
    batch_size=256, updates_per_iteration=32, learning_rate=1e-3,
    ema_decay=0.999, temperature=(1.0, 0.5), temperature_at=(0.0, 0.7),
    num_steps=299_500),
  # Own choice, after `pendulum`. Reaching the top pays 100 once, an action a
  # costs a^2 / 10: without reward in sight the best is to stay. A wide
  # proposal and a weight of 0.5 on the prior keep the policy open meanwhile.
  'mountain_car_continuous': dict(
    family='continuous', env_id='MountainCarContinuous-v0', network='mlp',
    num_blocks=1, num_channels=128, head_hidden=64, support_bins=51,
    support_max=12.5, policy_head='tanh_gaussian', num_sampled_actions=16,
    proposal_temperature=2.0, entropy_weight=2e-2, search='gumbel',
    num_simulations=16, gumbel_min_range=1.0, gumbel_prior_weight=0.5,
    discount=0.995, num_envs=32, rollout_length=16, replay_capacity=200_704,
    min_replay=8_192, priority_alpha=0.6, priority_beta=1.0, unroll_steps=5,
    td_steps=20, value_weight=0.5, batch_size=256, updates_per_iteration=32,
    learning_rate=1e-3, ema_decay=0.999, temperature=(1.0, 0.5),
    temperature_at=(0.0, 0.7), num_steps=300_000),
  # Own choice, after Gumbel MuZero's board settings: c_scale 1 on q-values of
  # range 2. Hot first moves, greedy later ones: self-play must see the
  # positions into which an opponent leads it, and how they rightly end.
  'tic_tac_toe': dict(
    family='board', env_id='tic_tac_toe', network='mlp', num_blocks=2,
    num_channels=128, support_bins=11, support_max=0.5, search='gumbel',
    num_simulations=25, eval_simulations=64, gumbel_value_scale=1.0,
    gumbel_min_range=2.0, max_considered_actions=9, temperature=(5.0,),
    temperature_at=(0.0,), temperature_moves=4, discount=1.0,
    value_target='monte_carlo', td_steps=10, unroll_steps=5,
    value_weight=1.0, num_envs=64, rollout_length=16,
    replay_capacity=50_000, min_replay=2_048, augment_symmetry=True,
    batch_size=256, updates_per_iteration=40, learning_rate=2e-3,
    ema_decay=0.999, num_steps=560_000),
  # Own choice: learns on two cores. Small frames; no blocks at full size; the
  # temperature falls, since a greedy policy that was never played gets stuck.
  'atari_tiny': dict(
    family='atari', env_id='kung_fu_master', frame_size=48, grayscale=True,
    stacked_frames=4, network='atari_resnet', num_blocks=1,
    stage_blocks=(0, 0, 0), num_channels=24, head_channels=8,
    support_bins=81, support_max=10.0, reward_clip=1.0, search='gumbel',
    num_simulations=8, max_considered_actions=8, gumbel_min_range=0.3,
    num_envs=64,
    temperature=(1.0, 0.5, 0.25, 0.1), temperature_at=(0.0, 0.3, 0.5, 0.75),
    rollout_length=16, replay_capacity=100_352, min_replay=4_096,
    priority_alpha=0.6, priority_beta=1.0, unroll_steps=5, td_steps=10,
    discount=0.99, batch_size=64, updates_per_iteration=64,
    learning_rate=3e-3, num_steps=200_000),
  # Own choice: MinAtar's ten by ten planes through one convolution, then
  # small vectors, so that two cores play and learn fast. What the model knows
  # too late (what kills, what a shot hits) the policy learns from returns
  # (docs/recipe.md). Uniform replay: with importance weights, few rows made all
  # of the gradient.
  'minatar': dict(
    family='minatar', env_id='breakout', repeat_action_probability=0.1,
    network='mlp', stem_channels=16, num_blocks=1, num_channels=128,
    head_hidden=64, support_bins=51, support_max=5.0, search='gumbel',
    num_simulations=16, gumbel_min_range=0.0, gumbel_prior_weight=0.8,
    discount=0.99, temperature=(1.0, 0.5), temperature_at=(0.0, 0.9),
    noise_steps=(1, 2, 4, 8), num_envs=128, rollout_length=16,
    augment_symmetry=True, replay_capacity=51_200, min_replay=4_096,
    priority_alpha=0.0, unroll_steps=5, td_steps=10, fresh_values=True,
    value_weight=1.0, policy_gradient_weight=4.0, batch_size=64,
    updates_per_iteration=128, learning_rate=1e-3,
    learning_rate_schedule='cosine', ema_decay=0.9997, num_steps=5_000_000),
  # Stochastic MuZero (Antonoglou et al. 2022), appendix: 32 codes, here two for
  # each square, a 2 and a 4; discount 0.999. All sizes are our own choice, for
  # two cores: h of returns of 29,400 is 200, and bins are 120 points apart near
  # 1,000. Chance explores enough: at temperature 0 it learns as fast as at 1.
  # Returns over 10 steps learn as fast, and are two thirds too low at the end:
  # hence a long horizon, a short replay and means of returns, not of their h.
  '2048': dict(
    family='stochastic', env_id='2048', network='rotation_equivariant',
    num_blocks=1, num_channels=16, line_channels=64, head_hidden=64,
    chance_codes=32, support_bins=201, support_max=200.0, support_mean='scalar',
    search='gumbel', num_simulations=16, max_considered_actions=4,
    gumbel_min_range=50.0, discount=0.999, augment_symmetry=True,
    temperature=(0.0,), temperature_at=(0.0,), num_envs=128,
    rollout_length=16, replay_capacity=32_768, min_replay=8_192,
    unroll_steps=3, value_target='td_lambda', td_lambda=0.98, td_steps=160,
    value_weight=0.5, batch_size=256, updates_per_iteration=16,
    learning_rate=3e-3, ema_decay=0.999, num_steps=1_000_000),
  # Own choice, after `2048` and the board games: 21 rolls in 32 codes, on two
  # cores. What is trained is who wins: rewards of gammons and backgammons, 2
  # and 3, are clipped to 1, as matches count them. For points take reward_clip
  # 0, support_max 1.1 and support_bins 23. Games have a few hundred moves of
  # single checkers, along which outcomes must travel by values that are as old
  # as the replay: hence a long horizon and a short replay.
  'backgammon': dict(
    family='stochastic', env_id='backgammon', network='mlp', num_blocks=1,
    num_channels=256, head_hidden=64, chance_codes=32, consistency_weight=2.0,
    support_bins=11, support_max=0.5, reward_clip=1.0, search='gumbel',
    num_simulations=16, gumbel_value_scale=1.0, gumbel_min_range=1.0,
    max_considered_actions=8, temperature=(1.0, 0.5),
    temperature_at=(0.0, 0.5), discount=1.0, value_target='td_lambda',
    td_lambda=0.95, td_steps=40, unroll_steps=3, value_weight=1.0,
    num_envs=128, rollout_length=16, replay_capacity=51_200,
    min_replay=8_192, batch_size=256, updates_per_iteration=16,
    learning_rate=1e-3, ema_decay=0.999, eval_episodes=400, eval_envs=200,
    num_steps=2_000_000),
  # Own choice, after tic_tac_toe's. Layers over windows of four squares learn
  # what a row of four is in a third of the updates that convolutions need.
  # Rewards count twice and values half, lest the noise of early outcomes drown
  # the rewards. Hot first moves: at temperature 1 self-play shrank to one drawn
  # game, and forgot all others.
  'connect_four': dict(
    family='board', env_id='connect_four', network='k_in_a_row', num_blocks=1,
    num_channels=24, line_channels=32, head_channels=8, head_hidden=64,
    support_bins=11, support_max=0.5, search='gumbel', num_simulations=16,
    gumbel_value_scale=1.0, gumbel_min_range=2.0, max_considered_actions=7,
    temperature=(3.0,), temperature_at=(0.0,), temperature_moves=12,
    discount=1.0, value_target='td_lambda', td_lambda=0.9, td_steps=20,
    unroll_steps=5, value_weight=0.5, reward_weight=2.0, num_envs=128,
    rollout_length=16, replay_capacity=100_000, min_replay=8_192,
    augment_symmetry=True, batch_size=64, updates_per_iteration=32,
    learning_rate=2e-3, ema_decay=0.999, num_steps=1_000_000),
  # EfficientZero (arXiv 2111.00210), appendix: Atari 100k. Published: batch,
  # optimiser, replay, priorities, targets and their correction, losses,
  # augmentation, network, search, 120k updates for 100k steps. There the rate
  # drops tenfold once, after 100k updates; here it decays to the same end.
  # h, g and f have group norm and layer norm in place of batch norm.
  'atari_100k': dict(
    family='atari', env_id='pong', frame_size=96, grayscale=False,
    stacked_frames=4, episodic_life=True, reward_clip=1.0, noop_max=30,
    network='atari_resnet', num_blocks=1, num_channels=64, head_channels=16,
    head_hidden=32, support_bins=601, support_max=300.0, prefix_steps=5,
    prefix_units=512, projection_size=1_024, search='muzero',
    num_simulations=50, q_normalisation='tree', dirichlet_alpha=0.3,
    dirichlet_fraction=0.25, temperature=(1.0, 0.5, 0.25),
    temperature_at=(0.0, 0.5, 0.75), discount=0.997**4, unroll_steps=5,
    td_steps=5, td_correction=30_000, policy_weight=1.0, value_weight=0.25,
    reward_weight=1.0, consistency_weight=2.0, shift_pixels=4,
    intensity_scale=0.05, num_envs=8, rollout_length=5,
    updates_per_iteration=48, replay_capacity=100_000, min_replay=2_000,
    priority_alpha=0.6, priority_beta=0.4, reanalyse_fraction=0.99,
    batch_size=256, optimiser='sgd', learning_rate=0.2,
    learning_rate_schedule='exponential', learning_rate_end=0.1,
    warmup_updates=1_000, momentum=0.9, weight_decay=1e-4, max_grad_norm=5.0,
    target_period=200, num_steps=100_000),
  # EfficientZero V2 (arXiv 2403.00564) for Atari 100k, of which the figures are
  # those of its published code: Gumbel search with 16 simulations of 4 actions
  # (there 4 of 2 where a game has fewer than 4 actions, and 8 actions where it
  # has 16 or more), floor of the q-range, mixed value target in place of the
  # shorter td_steps, loss weights, all of each batch reanalysed, batch,
  # optimiser with a constant rate, priorities, replay, network, augmentation,
  # 120k updates for 100k steps. Its file says 51 bins, but it builds one for
  # each unit from -300 to 300 on Atari; 51 are for continuous control. Our own:
  # the temperature, which here scales Gumbel noise, envs and rollouts, group
  # norm; and without its loss of entropy (0.005) and its embedding of actions.
  'atari_100k_v2': dict(
    family='atari', env_id='pong', frame_size=96, grayscale=False,
    stacked_frames=4, episodic_life=True, reward_clip=1.0, noop_max=30,
    network='atari_resnet', num_blocks=1, num_channels=64, head_channels=16,
    head_hidden=32, support_bins=601, support_max=300.0, prefix_steps=5,
    prefix_units=512, projection_size=1_024, search='gumbel',
    num_simulations=16, max_considered_actions=4, gumbel_value_scale=0.1,
    gumbel_min_range=0.01,
    temperature=(1.0, 0.5, 0.25), temperature_at=(0.0, 0.5, 0.75),
    discount=0.997**4, unroll_steps=5, td_steps=5, td_correction=0,
    mixed_value_age=5_000, mixed_value_start=30_000, policy_weight=1.0,
    value_weight=0.5, reward_weight=1.0, consistency_weight=5.0,
    shift_pixels=4, intensity_scale=0.05, num_envs=8, rollout_length=5,
    updates_per_iteration=48, replay_capacity=100_000, min_replay=2_000,
    priority_alpha=1.0, priority_beta=1.0, reanalyse_fraction=1.0,
    batch_size=256, optimiser='sgd', learning_rate=0.2,
    learning_rate_schedule='constant', warmup_updates=1_000, momentum=0.9,
    weight_decay=1e-4, max_grad_norm=5.0, target_period=200,
    num_steps=100_000),
  # MuZero (arXiv 1911.08265), appendices D to G and pseudocode: network,
  # search, targets, replay, batch and a rate of 0.05 that falls tenfold every
  # 350k updates. Published: 20 billion frames and 1M updates; here, as its
  # appendix H (Reanalyse), 200 million frames and 2 samples per state, which
  # makes 100k updates. 125k sequences of 200 rows are 690 GB of RGB frames:
  # lower replay_capacity unless there is a pod's memory to hold them.
  'atari_muzero': dict(
    family='atari', env_id='pong', frame_size=96, grayscale=False,
    stacked_frames=32, stack_actions=True, full_action_set=True,
    episodic_life=False, reward_clip=0.0, noop_max=30,
    network='atari_resnet', num_blocks=16, stage_blocks=(2, 3, 3),
    num_channels=256, support_bins=601, support_max=300.0, search='muzero',
    num_simulations=50, q_normalisation='tree', pb_c_init=1.25,
    pb_c_base=19_652.0, dirichlet_alpha=0.25, dirichlet_fraction=0.25,
    temperature=(1.0, 0.5, 0.25), temperature_at=(0.0, 0.5, 0.75),
    discount=0.997, unroll_steps=5, td_steps=10, policy_weight=1.0,
    value_weight=1.0, reward_weight=1.0, num_envs=1_000, rollout_length=5,
    updates_per_iteration=10, replay_capacity=25_000_000, min_replay=200_000,
    priority_alpha=1.0, priority_beta=1.0, reanalyse_fraction=0.0,
    batch_size=1_024, optimiser='sgd', learning_rate=0.05,
    learning_rate_schedule='exponential', learning_rate_end=0.518,
    momentum=0.9, weight_decay=1e-4, max_grad_norm=0.0,
    num_steps=50_000_000),
  # MuZero (arXiv 1911.08265), board games, here Go: chess takes
  # dirichlet_alpha 0.3 and learning_rate 0.1, shogi 0.15 and 0.1. The rate
  # falls tenfold every 400k of 1M updates. Published without a reward loss;
  # here the last transition's reward carries the outcome, so it has one.
  'board_muzero': dict(
    family='board', env_id='go_9x9', network='board_resnet', num_blocks=16,
    num_channels=256, head='scalar', search='muzero', num_simulations=800,
    q_normalisation='tree', pb_c_init=1.25, pb_c_base=19_652.0,
    dirichlet_alpha=0.03, dirichlet_fraction=0.25, temperature=(1.0,),
    temperature_at=(0.0,), temperature_moves=30, discount=1.0,
    value_target='monte_carlo', td_steps=200, unroll_steps=5,
    policy_weight=1.0, value_weight=1.0, reward_weight=1.0, num_envs=1_000,
    rollout_length=10, updates_per_iteration=10,
    replay_capacity=80_000_000, min_replay=200_000, priority_alpha=0.0,
    batch_size=2_048, optimiser='sgd', learning_rate=0.01,
    learning_rate_schedule='exponential', learning_rate_end=0.00316,
    momentum=0.9, weight_decay=1e-4, max_grad_norm=0.0,
    num_steps=1_000_000_000),
}

# (family, env_id) -> what a script takes for it in place of its own preset,
# where no --preset is given: nothing else would suit its network.
MADE_FOR: dict[tuple[str, str], str] = {
  ('board', 'connect_four'): 'connect_four',
  ('continuous', 'MountainCarContinuous-v0'): 'mountain_car_continuous',
  ('stochastic', 'backgammon'): 'backgammon',
}
