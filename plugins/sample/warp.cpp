#include "warp.h"

#include "error.h"
#include "files.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <locale>
#include <sstream>

namespace lzu::sample
{

namespace
{

using Json = nlohmann::json;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file's values are read as they are");

constexpr int32_t kMOST_SIDE = 65535; // of a frame, as lzu_zoom_camera has it

Error damaged(std::string const& path, std::string const& why)
{
    return Error(path + " is damaged (" + why + "); copy or export the bundle again");
}

template <typename T>
void readPair(Json const& texts, char const* key, T& first, T& second)
{
    std::istringstream text(texts.at(key).get<std::string>());
    text.imbue(std::locale::classic());
    if (!(text >> first >> second))
    {
        throw Error(std::string("its ") + key + " is not two numbers");
    }
}

Size size(Json const& texts, char const* key)
{
    Size pair;
    readPair(texts, key, pair.y, pair.x);
    return pair;
}

// Whether a part lies in a whole, along one axis.
bool holds(int32_t whole, int32_t first, int32_t part)
{
    return first >= 0 && part > 0 && part <= whole && first <= whole - part;
}

// Throws Error unless each image lies in the one that it is cut from or padded to: addresses are computed from them.
void checkSizes(Warp const& warp)
{
    bool const fits = holds(warp.source.y, warp.corner.y, warp.view.y) && holds(warp.source.x, warp.corner.x, warp.view.x)
        && holds(warp.view.y, 0, warp.picture.y) && holds(warp.view.x, 0, warp.picture.x)
        && holds(warp.networkInput.y, 0, warp.canvas.y) && holds(warp.networkInput.x, 0, warp.canvas.x)
        && std::max(warp.source.y, warp.source.x) <= kMOST_SIDE;
    if (!fits)
    {
        throw Error("its sizes do not fit each other");
    }
}

WarpArray array(Json const& entry, char const* values, std::size_t available)
{
    WarpArray found{entry.at("dtype"), entry.at("shape").get<std::vector<int64_t>>(), {}};
    auto const ends = entry.at("data_offsets").get<std::vector<std::size_t>>();
    std::size_t const item = found.type == "F32" ? 4 : found.type == "F64" ? 8 : 0;
    std::size_t wanted = item;
    for (int64_t const side : found.shape)
    {
        wanted *= static_cast<std::size_t>(side);
    }
    if (item == 0 || ends.size() != 2 || ends[0] > ends[1] || ends[1] > available || ends[1] - ends[0] != wanted)
    {
        throw Error("an array does not fit the file");
    }
    found.bytes.assign(values + ends[0], values + ends[1]);
    return found;
}

template <typename T>
std::vector<T> valuesOf(std::vector<char> const& bytes)
{
    std::vector<T> values(bytes.size() / sizeof(T));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(values.data()));
    return values;
}

} // namespace

std::vector<float> WarpArray::floats() const
{
    if (type == "F32")
    {
        return valuesOf<float>(bytes);
    }
    std::vector<double> const values = valuesOf<double>(bytes);
    return {values.begin(), values.end()};
}

Warp readWarp(std::string const& bundle)
{
    std::string const path = bundle + "/warp.safetensors";
    std::vector<char> const content = readFile(path);
    uint64_t length = 0;
    if (content.size() >= sizeof(length))
    {
        std::memcpy(&length, content.data(), sizeof(length));
    }
    if (content.size() < sizeof(length) || length > content.size() - sizeof(length))
    {
        throw damaged(path, "it is too short");
    }
    char const* const header = content.data() + sizeof(length);
    char const* const values = header + length;
    Warp warp;
    try
    {
        Json const data = Json::parse(header, values);
        Json const& texts = data.at("__metadata__");
        warp.source = size(texts, "source");
        warp.corner = size(texts, "corner");
        warp.view = size(texts, "view");
        warp.picture = size(texts, "picture");
        warp.canvas = size(texts, "canvas");
        warp.networkInput = size(texts, "network_input");
        readPair(texts, "canvas_step", warp.stepY, warp.stepX);
        checkSizes(warp);
        for (auto const& [name, entry] : data.items())
        {
            if (name != "__metadata__")
            {
                warp.arrays[name] = array(entry, values, content.size() - sizeof(length) - length);
            }
        }
    }
    catch (std::exception const& error)
    {
        throw damaged(path, error.what());
    }
    return warp;
}

} // namespace lzu::sample
