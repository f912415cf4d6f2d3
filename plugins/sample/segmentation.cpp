// Task seg: the label map of the view, placed in the source, and the share of each class.
#include "files.h"
#include "task.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>

namespace lzu::sample
{

namespace
{

constexpr uint8_t kIGNORED = 255; // outside of the view

double rounded(double value)
{
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.6f", value);
    return std::strtod(text.data(), nullptr);
}

class Segmentation final : public Task
{
public:
    Segmentation(Manifest const& manifest, Warp const& warp, Session& session, std::string folder)
        : mManifest(manifest)
        , mWarp(warp)
        , mSession(session)
        , mLabels(session.requireOutput("labels", "int32", {manifest.batch, warp.view.y, warp.view.x}))
        , mFolder(std::move(folder))
    {
    }

    void enqueue() override
    {
        mOnHost.clear();
    }

    void present(Frame const& frame, int32_t number, int32_t imageId, nlohmann::ordered_json& results) override
    {
        if (mOnHost.empty())
        {
            mOnHost = mSession.values<int32_t>(mLabels);
        }
        std::vector<uint8_t> const map = placed(number);
        nlohmann::ordered_json entry{{"image_id", imageId}};
        if (!mFolder.empty())
        {
            entry["file_name"] = write(frame, map);
        }
        entry["shares"] = shares(map);
        results.push_back(entry);
    }

private:
    // The classes of all pixels of the source.
    std::vector<uint8_t> placed(int32_t number) const
    {
        auto const width = static_cast<std::size_t>(mWarp.view.x);
        auto const height = static_cast<std::size_t>(mWarp.view.y);
        auto const across = static_cast<std::size_t>(mWarp.source.x);
        std::vector<uint8_t> map(static_cast<std::size_t>(mWarp.source.y) * across, kIGNORED);
        auto const* label = mOnHost.data() + static_cast<std::size_t>(number) * width * height;
        for (std::size_t row = 0; row < height; ++row, label += width)
        {
            auto const first = (static_cast<std::size_t>(mWarp.corner.y) + row) * across
                + static_cast<std::size_t>(mWarp.corner.x);
            std::transform(label, label + width, map.begin() + static_cast<std::ptrdiff_t>(first),
                [](int32_t each) { return static_cast<uint8_t>(each); });
        }
        return map;
    }

    nlohmann::ordered_json shares(std::vector<uint8_t> const& map) const
    {
        std::array<int64_t, 256> counts{};
        for (uint8_t const label : map)
        {
            ++counts[label];
        }
        int64_t total = 0;
        for (std::size_t label = 0; label < mManifest.classes.size(); ++label)
        {
            total += counts[label];
        }
        nlohmann::ordered_json found = nlohmann::ordered_json::object();
        for (std::size_t label = 0; label < mManifest.classes.size(); ++label)
        {
            if (counts[label] > 0)
            {
                found[mManifest.classes[label]]
                    = rounded(static_cast<double>(counts[label]) / static_cast<double>(total));
            }
        }
        return found;
    }

    // Writes a label map as PGM and returns its path.
    std::string write(Frame const& frame, std::vector<uint8_t> const& map)
    {
        std::filesystem::path const source(frame.path);
        std::string name = source.stem().string();
        while (!mNames.insert(name).second)
        {
            name += "_";
        }
        std::string const path = (std::filesystem::path(mFolder) / (name + ".pgm")).string();
        std::string content
            = "P5\n" + std::to_string(mWarp.source.x) + " " + std::to_string(mWarp.source.y) + "\n255\n";
        content.append(map.begin(), map.end());
        writeFile(path, content.data(), content.size());
        return path;
    }

    Manifest const& mManifest;
    Warp const& mWarp;
    Session& mSession;
    Bound const& mLabels;
    std::string mFolder;
    std::vector<int32_t> mOnHost; // the batch's labels
    std::set<std::string> mNames; // of the files so far
};

} // namespace

std::unique_ptr<Task> makeSegmentation(
    Manifest const& manifest, Warp const& warp, Session& session, std::string const& folder)
{
    return std::make_unique<Segmentation>(manifest, warp, session, folder);
}

} // namespace lzu::sample
