"""Two small environments of the suite, as a user would write them."""

import gymnasium
import numpy as np

_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


class KeyAndDoor(gymnasium.Env):
  """A grid of 6 x 6: fetch the key, then walk through the door.

  The key, the door and the walker stand anywhere. The best return is 1, less
  0.01 for each step: 0.92 in the mean.
  """

  SIZE, MOST_STEPS = 6, 60
  observation_space = gymnasium.spaces.MultiDiscrete([SIZE] * 6 + [2])
  action_space = gymnasium.spaces.Discrete(4)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    places = self.np_random.permutation(self.SIZE**2)[:3]
    self._me, self._key, self._door = (
      np.array(divmod(int(place), self.SIZE)) for place in places)
    self._has_key, self._num_steps = False, 0
    return self._see(), {}

  def step(self, action):
    self._num_steps += 1
    self._me = np.clip(self._me + _MOVES[action], 0, self.SIZE - 1)
    self._has_key |= bool((self._me == self._key).all())
    is_out = self._has_key and bool((self._me == self._door).all())
    return (self._see(), float(is_out) - 0.01, is_out,
            self._num_steps >= self.MOST_STEPS, {})

  def _see(self):
    return np.array(
      [*self._me, *self._key, *self._door, self._has_key], np.int64)


class Berries(gymnasium.Env):
  """An image of 12 x 12: four berries to eat, one of them bad, in 30 steps.

  A good one pays 1, the bad one costs 1 and ends the episode. The best return
  is 3.
  """

  SIZE, MOST_STEPS = 12, 30
  observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
  action_space = gymnasium.spaces.Discrete(4)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    places = self.np_random.permutation((self.SIZE // 2)**2)[:5]
    self._me, self._bad, *self._good = (
      divmod(int(place), self.SIZE // 2) for place in places)
    self._num_steps = 0
    return self._see(), {}

  def step(self, action):
    self._num_steps += 1
    self._me = tuple(int(x) for x in np.clip(
      np.add(self._me, _MOVES[action]), 0, self.SIZE // 2 - 1))
    reward = float(self._me in self._good) - float(self._me == self._bad)
    self._good = [place for place in self._good if place != self._me]
    is_over = self._me == self._bad or not self._good
    return (
      self._see(), reward, is_over, self._num_steps >= self.MOST_STEPS, {})

  def _see(self):
    image = np.zeros(self.observation_space.shape, np.uint8)
    for channel, places in enumerate(([self._me], self._good, [self._bad])):
      for row, column in places:
        image[2 * row:2 * row + 2, 2 * column:2 * column + 2, channel] = 255
    return image
