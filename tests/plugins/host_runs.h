// Runs layers of each plugin on the host, by a library whose kernels are built for it.
#pragma once

#include "plugin_cases.h"

#include <cmath>

namespace objects
{

using namespace nvinfer1;

inline int64_t volume(Shape const& shape)
{
    int64_t product = 1;
    for (int64_t const side : shape)
    {
        product *= side;
    }
    return product;
}

// Runs a layer on the host. Identity knots everywhere: outputs are then known without mathematics.
inline std::vector<std::vector<float>> execute(Case const& test, std::vector<std::vector<float>> const& values,
    TensorRTPhase phase = TensorRTPhase::kRUNTIME)
{
    auto const plugin = create(test.name, test.good, phase);
    auto const in = describeAll(test.inputs);
    auto const out = describeAll(test.outputs);
    std::vector<void const*> inputs;
    for (size_t i = 0; i < values.size(); ++i)
    {
        CHECK(static_cast<int64_t>(values[i].size()) == volume(test.inputs[i]));
        inputs.push_back(values[i].data());
    }
    std::vector<std::vector<float>> results;
    std::vector<void*> outputs;
    for (Shape const& shape : test.outputs)
    {
        results.emplace_back(static_cast<size_t>(volume(shape)), 77.0F);
    }
    for (auto& result : results)
    {
        outputs.push_back(result.data());
    }
    CHECK(runtime(*plugin)->enqueue(in.data(), out.data(), inputs.data(), outputs.data(), nullptr, nullptr) == 0);
    return results;
}

inline std::vector<float> ramp(int64_t count)
{
    std::vector<float> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i)
    {
        values[i] = static_cast<float>(i % 251);
    }
    return values;
}

inline std::vector<float> identityKnots(int64_t batch, int64_t count)
{
    std::vector<float> knots;
    for (int64_t i = 0; i < batch * count; ++i)
    {
        knots.push_back(2.0F * static_cast<float>(i % count) / static_cast<float>(count - 1) - 1.0F);
    }
    return knots;
}

inline void checkClose(std::vector<float> const& a, std::vector<float> const& b)
{
    CHECK(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i)
    {
        CHECK(std::fabs(a[i] - b[i]) < 1e-3F);
    }
}

inline void runOnHost(std::map<std::string, Case> const& cases)
{
    Case const& unzoom = cases.at("SeparableUnzoom");
    std::vector<std::vector<float>> inputs
        = {ramp(volume(unzoom.inputs[0])), ramp(volume(unzoom.inputs[1])), identityKnots(2, 7), identityKnots(2, 5)};
    Case sameSize = unzoom;
    sameSize.good.ints["upscale"] = {1};
    sameSize.outputs = {unzoom.inputs[0], unzoom.inputs[1]};
    auto const unzoomed = execute(sameSize, inputs);
    checkClose(unzoomed[0], inputs[0]);
    checkClose(unzoomed[1], inputs[1]);

    Case zoom = cases.at("SeparableZoom");
    zoom.good.ints["canvas"] = {6, 8}; // as large as the image
    zoom.good.ints["pad"] = {0, 0};
    zoom.outputs = {zoom.inputs[0]};
    auto const image = ramp(volume(zoom.inputs[0]));
    checkClose(execute(zoom, {image, identityKnots(1, 7), identityKnots(1, 5)})[0], image);

    // Knots of zeros, as TensorRT has them when it times tactics: the identity while an engine is built, and outside of
    // the image everywhere when it runs.
    checkClose(execute(zoom, {image, std::vector<float>(7), std::vector<float>(5)}, TensorRTPhase::kBUILD)[0], image);
    std::vector<std::vector<float>> const timed = {inputs[0], inputs[1], std::vector<float>(14), std::vector<float>(10)};
    auto const whole = execute(sameSize, timed, TensorRTPhase::kBUILD);
    checkClose(whole[0], inputs[0]);
    checkClose(whole[1], inputs[1]);
    CHECK(execute(sameSize, timed)[0][0] == 0.0F && execute(sameSize, timed)[0].back() == 0.0F);

    Case const& boxes = cases.at("BoxKnots");
    auto const knots = execute(boxes, {ramp(2 * 3 * 4), std::vector<float>(6, 0.0F), {1.0F}, {64.0F},
                                          std::vector<float>(7, 1.0F / 7.0F), std::vector<float>(5, 0.2F)});
    checkClose(knots[0], identityKnots(2, 7));
    checkClose(knots[1], identityKnots(2, 5));

    Case const& invert = cases.at("InvertWarp");
    std::vector<float> plane;
    std::vector<float> expected;
    auto const addGrid = [](std::vector<float>& grid, int height, int width) {
        for (int y = 0; y < height; ++y)
        {
            for (int x = 0; x < width; ++x)
            {
                grid.push_back(2.0F * static_cast<float>(x) / static_cast<float>(width - 1) - 1.0F);
                grid.push_back(2.0F * static_cast<float>(y) / static_cast<float>(height - 1) - 1.0F);
            }
        }
    };
    for (int image = 0; image < 2; ++image)
    {
        addGrid(plane, 5, 7);
        addGrid(expected, 9, 11);
    }
    checkClose(execute(invert, {plane})[0], expected);
}

} // namespace objects
