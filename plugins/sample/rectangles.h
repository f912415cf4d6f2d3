// Suppression of boxes in space by their rectangles seen from above.
#pragma once

#include "manifest.h"

#include <cstdint>
#include <vector>

namespace lzu::sample
{

constexpr int64_t kBOX = 9; // values of a box, see docs/outputs.md

// A kept candidate and the class it is kept in.
struct Kept
{
    std::size_t candidate{};
    std::size_t label{};
};

// Suppresses one image's candidates: boxes (candidates x kBOX), scores (candidates x classes). Best first.
std::vector<Kept> suppressInSpace(
    float const* boxes, float const* scores, std::size_t candidates, std::size_t classes, Thresholds const& limits);

} // namespace lzu::sample
